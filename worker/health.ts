import { closeCircuit, disableWebhook, listLongFailing, openCircuit } from '../src/store/webhook-health.ts';
import { announceHealth } from './announce.ts';
import type { Pipelines } from '../src/store/pipelines.ts';
import type { EmitSettings } from '../src/store/emit-event.ts';
import type { CircuitOpening, DisableReason, WebhookRef } from '../src/store/webhook-health.ts';
import type { AnnounceDeps } from './announce.ts';
import type { DeliveryChange } from './deliver.ts';

/** Changes what a webhook is, for what its receiver does, and tells the feed and the project's other webhooks. */
export interface Health {
  open: (webhook: WebhookRef, opening: CircuitOpening) => Promise<void>;
  close: (webhook: WebhookRef) => Promise<void>;
  /** Disables the webhook when the attempt's answer asked for that. Never rejects: the attempt stands, and is announced. */
  obey: (change: DeliveryChange) => Promise<void>;
  /** Disables the webhooks whose every attempt has failed for so long, and gives how many there were. */
  disableLongFailing: (signal: AbortSignal) => Promise<number>;
}

export interface HealthSettings extends EmitSettings {
  /** For how long every attempt must have failed, in milliseconds. */
  disableAfterMs: number;
}

/** Webhooks that one run disables at most; the next one goes on. */
const disabledMax = 500;

export function createHealth(database: Pipelines, announcing: AnnounceDeps, settings: HealthSettings): Health {
  const disable = async (webhook: WebhookRef, reason: DisableReason): Promise<boolean> => {
    const change = await disableWebhook(database, settings, webhook, reason);
    await announceHealth(announcing, webhook, change);
    return change.changed;
  };
  return {
    open: async (webhook, opening) =>
      await announceHealth(announcing, webhook, await openCircuit(database, settings, webhook, opening)),
    close: async (webhook) =>
      await announceHealth(announcing, webhook, await closeCircuit(database, settings, webhook)),
    obey: async ({ dispatch, decision }) => {
      const reason = decision.kind === 'failed' ? decision.disableWebhook : null;
      if (reason === null) return;
      await disable(dispatch, reason).catch((error: unknown) =>
        announcing.onLost('a webhook was not disabled; its next answer will ask for it again', error),
      );
    },
    disableLongFailing: async (signal) => {
      let count = 0;
      for (const webhook of await listLongFailing(database, settings.disableAfterMs, disabledMax)) {
        if (signal.aborted) break;
        if (await disable(webhook, 'FAILING_TOO_LONG')) count += 1;
      }
      return count;
    },
  };
}
