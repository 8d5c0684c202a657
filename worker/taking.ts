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
import { settledEntry } from './feed-entry.ts';
import type { Logger } from 'pino';
import type { DueDelivery } from '../src/domain/delivery.ts';
import type { DeliveryId } from '../src/domain/ids.ts';
import type { AnnounceDeps } from './announce.ts';
import type { WorkerDeps } from './worker.ts';

/** What of a stop's time the jobs being placed get: they wait for nothing long. */
const jobsLimitMs = 3_000;
/** What everything under way gets to end once it was asked to. */
const abandonMs = 5_000;

/**
 * Starts taking jobs. Disposing finishes the attempts under way; what has not begun goes back to the queue, for another
 * worker or the next start: one wave of attempts after the other could take longer than a stop may.
 */
export async function startTaking(
  deps: WorkerDeps,
  parts: Omit<DeliveringParts, 'onAnswer'>,
): Promise<AsyncDisposable> {
  const { database, queue, queueConnection, logger, settings, rateLimit } = deps;
  const { webhooks, announcing, health } = parts;
  const stop = new AbortController();
  await using starting = new AsyncDisposableStack();
  const delivering = starting.use(
    createDelivering(deps, { ...parts, onAnswer: (dispatch, result) => admission.answered(dispatch, result) }),
  );
  const park = createParker(deps, announcing, parts.claimLeaseMs);
  const admission = new Admission(
    {
      attempt: async (id) => await deliver(delivering, id, stop.signal),
      recentSettings: (id) => webhooks.recent(id),
      reloadSettings: async (id) => await webhooks.reload(id),
      park: async (id) => await park(id),
      takeParked: async (id, countMax) => await takeHeldDeliveries(database, id, countMax),
      openCircuit: health.open,
      closeCircuit: health.close,
      rateLimit,
      random: Math.random,
      onError: (message, error) => logger.error({ err: error }, message),
    },
    settings,
  );
  deps.meter?.watchUnderWay(() => admission.inFlightCount);
  const consumer = await startDeliveryConsumer(queueConnection, {
    jobConcurrency: settings.jobConcurrency,
    stopLimitMs: jobsLimitMs,
    onError: (error) => logger.error({ err: error }, 'queue'),
    handle: async (deliveries, urgency) => {
      const left = await admission.admit(deliveries, urgency);
      if (left.length > 0) await queue.enqueue(left, { urgency });
    },
  });
  const started = starting.move();
  return {
    [Symbol.asyncDispose]: async () => {
      const untilMs = performance.now() + stopLimitMs;
      const waiting = admission.stop();
      await consumer[Symbol.asyncDispose]();
      await putBack(deps, waiting);
      await endOrAbort({ admission, stop, untilMs }, logger);
      await started.disposeAsync();
    },
  };
}

async function putBack({ queue, logger }: WorkerDeps, waiting: readonly DueDelivery[]): Promise<void> {
  await queue
    .enqueue(waiting)
    .catch((error: unknown) =>
      logger.warn({ err: error }, 'waiting deliveries were not put back; sweep will find them'),
    );
}

/** Lets what is under way end, asks it to stop when that takes too long, and in the end leaves it to its claims' expiry. */
async function endOrAbort(
  { admission, stop, untilMs }: { admission: Admission; stop: AbortController; untilMs: number },
  logger: Logger,
): Promise<void> {
  if (await endsWithin(Math.max(0, untilMs - performance.now()), admission.idle())) return;
  stop.abort(new Error('the worker is stopping'));
  if (await endsWithin(abandonMs, admission.idle())) return;
  logger.error(`${admission.inFlightCount} deliveries did not stop when asked to`);
}

/** Gives the function that parks a delivery; concurrent calls share one statement. What ended instead is published. */
function createParker(
  { database, meter }: WorkerDeps,
  announcing: AnnounceDeps,
  claimLeaseMs: number,
): (id: DeliveryId) => Promise<void> {
  const parkTogether = coalesce(async (ids: DeliveryId[]) => {
    for (const delivery of await parkDeliveries(database, ids, claimLeaseMs)) {
      void publish(announcing, delivery.projectId, [settledEntry(delivery, announcing.now())]);
    }
    return ids.map(() => null);
  });
  return async (id) => {
    meter?.parked();
    await parkTogether(id);
  };
}
