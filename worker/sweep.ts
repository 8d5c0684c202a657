import { indexOpenDeliveries, listDue, listStuck } from '../src/store/sweep.ts';
import { releaseHeldDeliveries } from '../src/store/held-deliveries.ts';
import type { DeliveryQueue } from '../src/queue.ts';
import type { Pipelines } from '../src/store/pipelines.ts';
import type { SweepSettings } from '../src/store/sweep.ts';

/** Deliveries that one sweep enqueues at most. */
const enqueuedMax = 25_000;
/** Jobs ready in the queue above which it is simply long, and hints would only be doubled. */
const readyJobsMax = 20;

export interface SweepDeps {
  database: Pipelines;
  queue: DeliveryQueue;
  settings: SweepSettings;
}

/**
 * Enqueues deliveries that are due and that nobody took: hints that were lost, and claims of workers that died. Gives
 * how many it enqueued. Safe to run anywhere, any number of times: the claim makes doubles harmless.
 */
export async function sweep({ database, queue, settings }: SweepDeps, signal: AbortSignal): Promise<number> {
  await indexOpenDeliveries(database, settings, signal);
  const released = await releaseHeldDeliveries(database);
  await queue.enqueue(released, { urgency: 'released' });
  if (signal.aborted || (await queue.countReady()) > readyJobsMax) return released.length;
  const due = await listDue(database, settings.graceMs, enqueuedMax);
  await queue.enqueue(due.filter(({ isTest }) => !isTest));
  await queue.enqueue(
    due.filter(({ isTest }) => isTest),
    { urgency: 'urgent' },
  );
  return released.length + due.length;
}

/**
 * Enqueues deliveries that a worker took longer ago than an attempt can take and never recorded, however long the queue
 * is; at most `limit`. Gives how many. Sweep does the same in its turn; this is for the clock and for a person.
 */
export async function retryStuck(
  { database, queue }: Pick<SweepDeps, 'database' | 'queue'>,
  limit: number = enqueuedMax,
): Promise<number> {
  const stuck = await listStuck(database, limit);
  await queue.enqueue(stuck);
  return stuck.length;
}
