import { coalesce } from '../src/coalesce.ts';
import { stopLimitMs } from '../src/domain/stop-limit.ts';
import { startDeliveryConsumer } from '../src/queue.ts';
import { takeHeldDeliveries } from '../src/store/held-deliveries.ts';
import { parkDeliveries } from '../src/store/settle-unsendable.ts';
import { endsWithin } from '../src/time-limit.ts';
import { Admission } from './admission.ts';
import { publish } from './announce.ts';
import { deliver } from './deliver.ts';
import { createDelivering, type DeliveringParts } from './delivering.ts';
import { createReport } from './report.ts';
import { settledEntry } from './feed-entry.ts';
import type { Logger } from 'pino';
import type { DueDelivery } from '../src/domain/delivery.ts';
import type { DeliveryId } from '../src/domain/ids.ts';
import type { WorkerDeps } from './worker.ts';

/** What of a stop's time the jobs being placed get: they wait for nothing long. */
const jobsLimitMs = 3_000;
/** What everything under way gets to end once it was asked to. */
const abandonMs = 5_000;

/** What taking shares with the rest of the worker. */
export interface TakingParts extends Omit<DeliveringParts, 'onAnswer' | 'stopping' | 'stop'> {
  onQueueError: (error: Error) => void;
}

/**
 * Starts taking jobs. Disposing finishes the attempts under way; what has not begun goes back to the queue, for another
 * worker or the next start: one wave of attempts after the other could take longer than a stop may.
 */
export async function startTaking(deps: WorkerDeps, parts: TakingParts): Promise<AsyncDisposable> {
  const { database, queue, queueConnection, logger, settings, rateLimit } = deps;
  const { webhooks, health } = parts;
  const stop = new AbortController();
  // Aborts as soon as stopping begins: what waits for a database that is away, and has not begun, waits no longer.
  const stopping = new AbortController();
  await using starting = new AsyncDisposableStack();
  const onAnswer: DeliveringParts['onAnswer'] = (dispatch, result) => admission.answered(dispatch, result);
  const delivering = starting.use(
    createDelivering(deps, { ...parts, stopping: stopping.signal, stop: stop.signal, onAnswer }),
  );
  const park = createParker(deps, parts, stopping.signal);
  const report = createReport(logger, 'error', database);
  const admission = new Admission(
    {
      attempt: async (id) => await deliver(delivering, id, stop.signal),
      recentSettings: (id) => webhooks.recent(id),
      reloadSettings: async (id) => await webhooks.reload(id),
      park,
      takeParked: async (id, countMax) => await takeHeldDeliveries(database, id, countMax),
      openCircuit: health.open,
      closeCircuit: health.close,
      rateLimit,
      random: Math.random,
      onError: (message, error) => error !== stopping.signal.reason && report(message, error),
    },
    settings,
  );
  deps.meter?.watchUnderWay(() => admission.inFlightCount);
  const consumer = await startDeliveryConsumer(queueConnection, {
    jobConcurrency: settings.jobConcurrency,
    stopLimitMs: jobsLimitMs,
    onError: parts.onQueueError,
    handle: async (deliveries, urgency) => {
      // A worker holds the jobs that it has and takes no others; when it stops, they go back as what has not begun does.
      await database.outage.over(stopping.signal).catch(ignoreStop);
      const left = await admission.admit(deliveries, urgency);
      if (left.length > 0) await queue.enqueue(left, { urgency });
    },
  });
  const started = starting.move();
  return {
    [Symbol.asyncDispose]: async () => {
      stopping.abort(new Error('the worker is stopping'));
      await stopTaking(deps, { admission, consumer, stop });
      await started.disposeAsync();
    },
  };
}

async function stopTaking(
  deps: WorkerDeps,
  { admission, consumer, stop }: { admission: Admission; consumer: AsyncDisposable; stop: AbortController },
): Promise<void> {
  const untilMs = performance.now() + stopLimitMs;
  const waiting = admission.stop();
  await consumer[Symbol.asyncDispose]();
  await putBack(deps, waiting);
  const ended = await endOrAbort({ admission, stop, untilMs }, deps.logger);
  if (!ended) deps.feed.expireCursors(); // they may yet commit what nobody announces any more
}

function ignoreStop(): void {}

async function putBack({ queue, logger }: WorkerDeps, waiting: readonly DueDelivery[]): Promise<void> {
  await queue
    .enqueue(waiting)
    .catch((error: unknown) =>
      logger.warn({ err: error }, 'waiting deliveries were not put back; sweep will find them'),
    );
}

/** Lets what is under way end, asks it to stop when that takes too long, and in the end leaves it to its claims' expiry. Gives whether all has ended. */
async function endOrAbort(
  { admission, stop, untilMs }: { admission: Admission; stop: AbortController; untilMs: number },
  logger: Logger,
): Promise<boolean> {
  if (await endsWithin(Math.max(0, untilMs - performance.now()), admission.idle())) return true;
  logger.warn(`${admission.inFlightCount} deliveries are given up: they are due again when their claims are stale`);
  stop.abort(new Error('the worker is stopping'));
  if (await endsWithin(abandonMs, admission.idle())) return true;
  logger.error(`${admission.inFlightCount} deliveries did not stop when asked to`);
  return false;
}

/**
 * Gives the function that parks a delivery; concurrent calls share one statement. What ended instead is published. It waits
 * for a database that is away, until the worker stops.
 */
function createParker(
  { database, meter }: WorkerDeps,
  { announcing, claimLeaseMs }: TakingParts,
  stopping: AbortSignal,
): (id: DeliveryId) => Promise<void> {
  const parkTogether = coalesce(async (ids: DeliveryId[]) => {
    for (const delivery of await parkDeliveries(database, ids, claimLeaseMs)) {
      void publish(announcing, delivery.projectId, [settledEntry(delivery, announcing.now())]);
    }
    return ids.map(() => null);
  });
  return async (id) => {
    meter?.parked();
    await database.outage.survive(async () => await parkTogether(id), stopping);
  };
}
