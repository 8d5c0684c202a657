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
      deliveryId: dispatch.deliveryId,
      attemptId: recorded.attemptId,
      attemptNumber: dispatch.attemptNumber,
      decision: decision.kind,
      responseStatus: result.response?.status ?? null,
      errorCode: result.errorCode,
      durationMs: Math.round(result.durationMs),
      ...(result.traceId === undefined ? {} : { traceId: result.traceId }),
    },
    'attempt',
  );
}
