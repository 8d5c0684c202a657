import { createClaimer } from '../src/store/claim-deliveries.ts';
import { createRecorder } from '../src/store/record-attempts.ts';
import { announce, publish } from './announce.ts';
import { settledEntry } from './feed-entry.ts';
import { logAttempt } from './log-attempt.ts';
import { createSender } from './send.ts';
import { traceAttempts } from './trace-attempts.ts';
import type { Dispatch, SendResult } from '../src/domain/delivery.ts';
import type { WebhookCache } from '../src/store/webhook-settings.ts';
import type { AnnounceDeps } from './announce.ts';
import type { DeliverDeps } from './deliver.ts';
import type { Health } from './health.ts';
import type { WorkerDeps } from './worker.ts';

/** What the five steps share with the rest of the worker. */
export interface DeliveringParts {
  webhooks: WebhookCache;
  announcing: AnnounceDeps;
  health: Health;
  claimLeaseMs: number;
  /** Told of each result as soon as its request is over. */
  onAnswer: (dispatch: Dispatch, result: SendResult) => void;
}

/** Creates the five steps' ports on the real adapters; disposing closes the connections to receivers. */
export function createDelivering(deps: WorkerDeps, parts: DeliveringParts): DeliverDeps & AsyncDisposable {
  const { database, settings, logger, meter } = deps;
  const { announcing, health } = parts;
  const claim = createClaimer(database, parts.webhooks, parts.claimLeaseMs);
  const record = createRecorder(database, settings);
  const sender = createSender({
    brand: settings.brand,
    version: settings.version,
    attemptTimeoutMs: settings.attemptTimeoutMs,
    allowedCidrs: settings.allowedCidrs,
    requireHttps: settings.requireHttps,
    onInternalError: (error) => logger.error({ err: error }, 'send'),
  });
  const send = traceAttempts(sender, deps.tracing ?? { tracer: null, sendTraceparent: false });
  return {
    random: Math.random,
    claim: async (deliveryId) => {
      const claimed = await claim(deliveryId);
      meter?.claimAsked(claimed.kind);
      if (claimed.kind === 'claimed') return claimed.dispatch;
      if (claimed.kind === 'settled') {
        await publish(announcing, claimed.delivery.projectId, [settledEntry(claimed.delivery, announcing.now())]);
      }
      return null;
    },
    send: async (dispatch, signal) => {
      const result = await send(dispatch, signal);
      parts.onAnswer(dispatch, result);
      return result;
    },
    record: async (dispatch, result, decision) => {
      const recorded = await record({ dispatch, result, decision });
      const change = { dispatch, result, decision, recorded };
      await health.obey(change);
      logAttempt(logger, change);
      meter?.attempted(change);
      return change;
    },
    announce: async (change) => await announce(announcing, change),
    [Symbol.asyncDispose]: async () => await sender[Symbol.asyncDispose](),
  };
}
