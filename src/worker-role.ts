import { startWorker } from '../worker/worker.ts';
import { startOperationsServer } from './operations/operations-server.ts';
import { operationsOf } from './service-parts.ts';
import type { ServiceParts } from './service-parts.ts';

/** What readiness may take, in milliseconds. */
const readyCheckMs = 2_000;
/** Starts the worker. One that is alone has a port, where that is set: before it takes anything, and until it has ended. */
export async function startRoleWorker(
  parts: ServiceParts,
  isAlone: boolean,
): Promise<{ operationsUrl: string | null } & AsyncDisposable> {
  const { host, workerPort: port } = parts.config;
  await using starting = new AsyncDisposableStack();
  const operations =
    !isAlone || port === null
      ? null
      : starting.use(await startOperationsServer({ ...operationsOf(parts), readyCheckMs, host, port }));
  starting.use(await startTheWorker(parts));
  operations?.enter('serving');
  starting.defer(() => operations?.enter('stopping'));
  const started = starting.move();
  return {
    operationsUrl: operations?.url ?? null,
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

async function startTheWorker({
  config,
  logger,
  stack,
  pipelines,
  secretBox,
  queue,
  queueOutage,
  tracer,
  feed,
  metrics,
}: ServiceParts): Promise<AsyncDisposable> {
  return await startWorker({
    database: pipelines,
    secretBox,
    queue,
    queueOutage,
    logger,
    feed,
    meter: metrics.worker,
    rateLimit: stack.rateLimit,
    queueConnection: stack.queueConnection,
    tracing: { tracer, sendTraceparent: config.sendTraceparent },
    settings: {
      brand: config.brand,
      version: config.version,
      attemptTimeoutMs: config.attemptTimeoutMs,
      allowedCidrs: config.allowedCidrs,
      requireHttps: config.requireHttps,
      retryScheduleSeconds: config.retryScheduleSeconds,
      maxAttempts: config.maxAttempts,
      disableAfterMs: config.disableAfterMs,
      retentionDays: config.retentionDays,
      inFlightMax: config.inFlightMax,
      webhookInFlightMax: config.webhookInFlightMax,
      jobConcurrency: config.jobConcurrency,
      sweepIntervalMs: config.sweepIntervalMs,
      sweepGraceMs: config.sweepGraceMs,
      alone: stack.embedded,
    },
  });
}
