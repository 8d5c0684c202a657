import { claimLeaseMs } from '../src/domain/claim-lease.ts';
import { startSchedules } from '../src/queue.ts';
import { releaseAllClaims } from '../src/store/sweep.ts';
import { WebhookCache } from '../src/store/webhook-settings.ts';
import { createHealth, type Health } from './health.ts';
import { createSchedules } from './schedules.ts';
import { sweep, type SweepDeps } from './sweep.ts';
import { startTaking } from './taking.ts';
import type { Logger } from 'pino';
import type { Feed } from '../src/feed/feed.ts';
import type { DeliveryQueue, QueueConnection, Schedule } from '../src/queue.ts';
import type { RateLimit } from '../src/rate-limit/rate-limit.ts';
import type { Pipelines } from '../src/store/pipelines.ts';
import type { SecretBox } from '../src/store/secret-box.ts';
import type { AnnounceDeps } from './announce.ts';
import type { AttemptTracing } from './trace-attempts.ts';
import type { WorkerMeter } from './worker-meter.ts';

/** What the deployment's settings mean to a worker. */
export interface WorkerSettings {
  brand: string;
  version: string;
  attemptTimeoutMs: number;
  allowedCidrs: readonly string[];
  requireHttps: boolean;
  retryScheduleSeconds: readonly number[];
  /** Attempts in all for webhooks that do not say otherwise. */
  maxAttempts: number;
  /** For how long every attempt must fail before a webhook is disabled, in milliseconds. */
  disableAfterMs: number;
  /** Days that history is kept; null: for ever. */
  retentionDays: number | null;
  /** Deliveries under way at once, and those of one webhook. */
  inFlightMax: number;
  webhookInFlightMax: number;
  jobConcurrency: number;
  sweepIntervalMs: number;
  sweepGraceMs: number;
  /** Whether no other worker can be running, so that claims found at the start are a dead process's. */
  alone: boolean;
}

export interface WorkerDeps {
  database: Pipelines;
  secretBox: SecretBox;
  feed: Feed;
  rateLimit: RateLimit;
  queue: DeliveryQueue;
  queueConnection: QueueConnection;
  logger: Logger;
  /** Told of what goes on here. */
  meter?: WorkerMeter;
  settings: WorkerSettings;
  /** Without it, attempts are not traced, and receivers not told of traces. */
  tracing?: AttemptTracing;
}

/** Starts taking jobs and the schedules. Disposing stops taking, finishes what is under way, and closes. */
export async function startWorker(deps: WorkerDeps): Promise<AsyncDisposable> {
  const { database, queue, queueConnection, logger, settings } = deps;
  await using starting = new AsyncDisposableStack();
  const announcing: AnnounceDeps = {
    feed: deps.feed,
    queue,
    now: () => new Date(),
    onLost: (message, error) => logger.warn({ err: error }, message),
  };
  const health = meterHealth(createHealth(database, announcing, settings), deps);
  const webhooks = new WebhookCache(database, deps.secretBox, settings);
  const sweeping: SweepDeps = {
    database,
    queue,
    settings: { graceMs: settings.sweepGraceMs, claimLeaseMs: claimLeaseMs(settings.attemptTimeoutMs) },
  };
  if (settings.alone) await recoverAlone(sweeping, logger);
  const onError = (error: Error): void => logger.error({ err: error }, 'queue');
  const schedules = createSchedules(deps, { sweeping, announcing, health }).map((schedule) => timed(schedule, deps));
  starting.use(await startSchedules(queueConnection, schedules, { onError }));
  const { claimLeaseMs: leaseMs } = sweeping.settings;
  starting.use(await startTaking(deps, { webhooks, announcing, health, claimLeaseMs: leaseMs }));
  return starting.move();
}

function meterHealth(health: Health, { meter }: WorkerDeps): Health {
  const open: Health['open'] = async (...args) => {
    meter?.circuitOpened();
    await health.open(...args);
  };
  return { ...health, open };
}

/** The schedule with its runs measured. */
function timed(schedule: Schedule, { meter }: WorkerDeps): Schedule {
  if (meter === undefined) return schedule;
  return {
    ...schedule,
    run: async (signal) => await meter.timeRun(schedule.name, async () => await schedule.run(signal)),
  };
}

/** What a process that died here had claimed is due at once: nobody else can be at it. */
async function recoverAlone(sweeping: SweepDeps, logger: Logger): Promise<void> {
  await releaseAllClaims(sweeping.database);
  const atOnce = { ...sweeping, settings: { ...sweeping.settings, graceMs: 0 } };
  await sweep(atOnce, new AbortController().signal).catch((error: unknown) =>
    logger.warn({ err: error }, 'the first sweep failed; the next one does its work'),
  );
}
