import type { Logger } from 'pino';
import type { DeliveryChange } from './deliver.ts';

/** Logs one wide line per attempt. */
export function logAttempt(logger: Logger, { dispatch, result, decision, recorded }: DeliveryChange): void {
  if (!logger.isLevelEnabled('info')) return;
  logger.info(
    {
      projectId: dispatch.projectId,
      webhookId: dispatch.webhookId,
      eventId: dispatch.eventId,
      eventType: dispatch.eventType,
      deliveryId: dispatch.deliveryId,
      attemptId: recorded.attemptId,
      attemptNumber: dispatch.attemptNumber,
      maxAttempts: dispatch.maxAttempts,
      trigger: dispatch.trigger,
      decision: decision.kind,
      decided: recorded.decided,
      status: recorded.delivery.status,
      dueAt: recorded.delivery.dueAt,
      failureReason: recorded.delivery.failureReason,
      responseStatus: result.response?.status ?? null,
      errorCode: result.errorCode,
      durationMs: Math.round(result.durationMs),
      ...result.timings,
      ...(result.traceId === undefined ? {} : { traceId: result.traceId }),
    },
    'attempt',
  );
}
