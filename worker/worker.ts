import { createClaimer } from '../src/store/claim-deliveries.ts';
import { createRecorder } from '../src/store/record-attempts.ts';
import { disableWebhook } from '../src/store/webhook-status.ts';
import { releaseAllClaims } from '../src/store/sweep.ts';
import { startDeliveryConsumer, startSchedules } from '../src/queue.ts';
import { announce, publish } from './announce.ts';
import { deliver } from './deliver.ts';
import { settledEntry } from './feed-entry.ts';
import { createInFlightLimit } from './in-flight-limit.ts';
import { createSender } from './send.ts';
import { sweep } from './sweep.ts';
import type { Logger } from 'pino';
import type { Dispatch } from '../src/domain/delivery.ts';
import type { DeliveryId } from '../src/domain/ids.ts';
import type { Feed } from '../src/feed/feed.ts';
import type { DeliveryQueue, QueueConnection } from '../src/queue.ts';
import type { Database } from '../src/store/database.ts';
import type { SecretBox } from '../src/store/secret-box.ts';
import type { AnnounceDeps } from './announce.ts';
import type { DeliverDeps, DeliveryChange } from './deliver.ts';

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

/**
 * On top of an attempt's own limit, what waiting for a socket and recording may take before a claim counts as abandoned:
 * 20 s, and less where attempts are short.
 */
function claimMarginMs(attemptTimeoutMs: number): number {
  return Math.min(20_000, 2 * attemptTimeoutMs + 1_000);
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
    claimLeaseMs: settings.attemptTimeoutMs + claimMarginMs(settings.attemptTimeoutMs),
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

/** The five steps' ports, on the real adapters. */
function createDelivering(
  deps: WorkerDeps,
  announcing: AnnounceDeps,
  claimLeaseMs: number,
): DeliverDeps & AsyncDisposable {
  const { database, secretBox, settings, logger } = deps;
  const claim = createClaimer(database, secretBox, {
    claimLeaseMs,
    retryScheduleSeconds: settings.retryScheduleSeconds,
  });
  const record = createRecorder(database);
  const sender = createSender({
    brand: settings.brand,
    version: settings.version,
    attemptTimeoutMs: settings.attemptTimeoutMs,
    allowedCidrs: settings.allowedCidrs,
    requireHttps: settings.requireHttps,
    onInternalError: (error) => logger.error({ err: error }, 'send'),
  });
  return {
    random: Math.random,
    claim: async (deliveryId) => {
      const claimed = await claim(deliveryId);
      if (claimed.kind === 'claimed') return claimed.dispatch;
      if (claimed.kind === 'settled') {
        await publish(announcing, claimed.delivery.projectId, settledEntry(claimed.delivery, announcing.now()));
      }
      return null;
    },
    send: async (dispatch, signal) => await sender.send(dispatch, signal),
    record: async (dispatch, result, decision) => {
      const recorded = await record({ dispatch, result, decision });
      const change = { dispatch, result, decision, recorded };
      if (decision.kind === 'failed' && decision.disableWebhook) await disable(database, announcing, change);
      logAttempt(logger, change);
      return change;
    },
    announce: async (change) => await announce(announcing, change),
    [Symbol.asyncDispose]: async () => await sender[Symbol.asyncDispose](),
  };
}

/** Disables the webhook that asked for it, and says so in the feed. Never rejects: the attempt stands, and is announced. */
async function disable(
  database: Database,
  announcing: AnnounceDeps,
  { dispatch, decision }: DeliveryChange,
): Promise<void> {
  const reason = decision.kind === 'failed' ? decision.reason : 'GONE';
  try {
    const webhook = await disableWebhook(database, dispatch.projectId, dispatch.webhookId, reason);
    if (webhook !== null) await publish(announcing, dispatch.projectId, webhookEntry(dispatch, announcing.now()));
  } catch (error) {
    announcing.onLost('a webhook was not disabled; its next answer will ask for it again', error);
  }
}

function webhookEntry(dispatch: Dispatch, at: Date): Parameters<typeof publish>[2] {
  return {
    change: 'WEBHOOK_STATUS_CHANGED',
    at: at.toISOString(),
    webhookId: dispatch.webhookId,
    eventType: null,
    delivery: null,
    attempt: null,
  };
}

/** One wide line per attempt. */
function logAttempt(logger: Logger, { dispatch, result, decision, recorded }: DeliveryChange): void {
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
    },
    'attempt',
  );
}
