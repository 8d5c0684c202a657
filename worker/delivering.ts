import { createClaimer } from '../src/store/claim-deliveries.ts';
import { createRecorder } from '../src/store/record-attempts.ts';
import { announce, publish } from './announce.ts';
import { disableAskedWebhook } from './disable-webhook.ts';
import { settledEntry } from './feed-entry.ts';
import { logAttempt } from './log-attempt.ts';
import { createSender } from './send.ts';
import type { AnnounceDeps } from './announce.ts';
import type { DeliverDeps } from './deliver.ts';
import type { WorkerDeps } from './worker.ts';

/** Creates the five steps' ports on the real adapters; disposing closes the connections to receivers. */
export function createDelivering(
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
      await disableAskedWebhook(database, announcing, change);
      logAttempt(logger, change);
      return change;
    },
    announce: async (change) => await announce(announcing, change),
    [Symbol.asyncDispose]: async () => await sender[Symbol.asyncDispose](),
  };
}
