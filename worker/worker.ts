import { releaseAllClaims } from '../src/store/sweep.ts';
import { claimLeaseMs } from '../src/domain/claim-lease.ts';
import { startDeliveryConsumer, startSchedules } from '../src/queue.ts';
import { deliver } from './deliver.ts';
import { createDelivering } from './delivering.ts';
import { createInFlightLimit } from './in-flight-limit.ts';
import { sweep } from './sweep.ts';
import type { Logger } from 'pino';
import type { DeliveryId } from '../src/domain/ids.ts';
import type { Feed } from '../src/feed/feed.ts';
import type { DeliveryQueue, QueueConnection } from '../src/queue.ts';
import type { Database } from '../src/store/database.ts';
import type { SecretBox } from '../src/store/secret-box.ts';
import type { AnnounceDeps } from './announce.ts';
import type { DeliverDeps } from './deliver.ts';

/** What the deployment's settings mean to a worker. */
export interface WorkerSettings {
  brand: string;
  version: string;
  attemptTimeoutMs: number;
  allowedCidrs: readonly string[];
  requireHttps: boolean;
  retryScheduleSeconds: readonly number[];
  inFlightMax: number;
  jobConcurrency: number;
  sweepIntervalMs: number;
  sweepGraceMs: number;
  /** Whether no other worker can be running, so that claims found at the start are a dead process's. */
  alone: boolean;
}

export interface WorkerDeps {
  database: Database;
  secretBox: SecretBox;
  feed: Feed;
  queue: DeliveryQueue;
  queueConnection: QueueConnection;
  logger: Logger;
  settings: WorkerSettings;
}

/** Starts taking jobs and sweeping. Disposing stops taking, finishes what is under way, and closes. */
export async function startWorker(deps: WorkerDeps): Promise<AsyncDisposable> {
  const { database, queue, queueConnection, logger, settings } = deps;
  await using starting = new AsyncDisposableStack();
  const onError = (error: Error): void => logger.error({ err: error }, 'queue');
  const announcing: AnnounceDeps = {
    feed: deps.feed,
    queue,
    now: () => new Date(),
    onLost: (message, error) => logger.warn({ err: error }, message),
  };
  const sweepSettings = {
    graceMs: settings.sweepGraceMs,
    claimLeaseMs: claimLeaseMs(settings.attemptTimeoutMs),
  };
  if (settings.alone) {
    await releaseAllClaims(database);
    await sweep({ database, queue, settings: { ...sweepSettings, graceMs: 0 } }, new AbortController().signal).catch(
      (error: unknown) => logger.warn({ err: error }, 'the first sweep failed; the next one does its work'),
    );
  }
  const delivering = starting.use(createDelivering(deps, announcing, sweepSettings.claimLeaseMs));
  starting.use(
    await startSchedules(
      queueConnection,
      [
        {
          name: 'sweep',
          everyMs: settings.sweepIntervalMs,
          run: async (signal) => {
            const enqueuedCount = await sweep({ database, queue, settings: sweepSettings }, signal);
            if (enqueuedCount > 0) logger.info({ enqueuedCount }, 'sweep');
          },
        },
      ],
      { onError },
    ),
  );
  starting.use(await startTaking(deps, delivering, onError));
  return starting.move();
}

/**
 * Starts taking jobs. Disposing finishes the attempts under way; what still waits for room goes back to the queue, for
 * another worker or the next start: one wave of attempts after the other could take longer than a stop may.
 */
async function startTaking(
  { queue, queueConnection, logger, settings }: WorkerDeps,
  delivering: DeliverDeps,
  onError: (error: Error) => void,
): Promise<AsyncDisposable> {
  const limit = createInFlightLimit(settings.inFlightMax);
  let stopping = false;
  const consumer = await startDeliveryConsumer(queueConnection, {
    jobConcurrency: settings.jobConcurrency,
    onError,
    handle: async (ids, signal) => {
      const left: DeliveryId[] = [];
      const attempt = async (id: DeliveryId): Promise<void> => {
        if (stopping) left.push(id);
        else await deliver(delivering, id, signal);
      };
      const ends = await Promise.allSettled(ids.map(async (id) => await limit.run(async () => await attempt(id))));
      for (const end of ends) if (end.status === 'rejected') logger.error({ err: end.reason }, 'delivery');
      if (left.length > 0) await queue.enqueue(left);
    },
  });
  return {
    [Symbol.asyncDispose]: async () => {
      stopping = true;
      await consumer[Symbol.asyncDispose]();
    },
  };
}
