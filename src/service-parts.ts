import type { Logger } from 'pino';
import type { Config } from './config.ts';
import type { Feed } from './feed/feed.ts';
import type { Metrics } from './metrics/metrics.ts';
import type { OperationsOptions, ServedMetrics } from './operations/operations-routes.ts';
import type { ReadinessChecks } from './operations/readiness.ts';
import type { Outage } from './outage.ts';
import type { DeliveryQueue } from './queue.ts';
import type { Stack } from './stack/stack.ts';
import type { Pipelines } from './store/pipelines.ts';
import type { SecretBox } from './store/secret-box.ts';
import type { Tracer } from './tracing/tracer.ts';

/** What gateway and worker share. */
export interface ServiceParts {
  config: Config;
  logger: Logger;
  stack: Stack;
  pipelines: Pipelines;
  secretBox: SecretBox;
  queue: DeliveryQueue;
  queueOutage: Outage;
  tracer: Tracer | null;
  /** The stack's, measured. */
  feed: Feed;
  metrics: Metrics;
  checks: ReadinessChecks;
}

/** What those who run the process ask of it. */
export function operationsOf({
  config,
  logger,
  metrics,
  checks,
}: ServiceParts): Omit<OperationsOptions, 'readyCheckMs' | 'metrics'> & { metrics: ServedMetrics } {
  return { checks, logger, metrics: { page: metrics.page, token: config.metricsToken } };
}
