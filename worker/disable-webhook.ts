import { disableWebhook } from '../src/store/webhook-status.ts';
import { publish } from './announce.ts';
import type { Dispatch } from '../src/domain/delivery.ts';
import type { FeedEntry } from '../src/feed/feed.ts';
import type { Database } from '../src/store/database.ts';
import type { AnnounceDeps } from './announce.ts';
import type { DeliveryChange } from './deliver.ts';

/**
 * Disables the webhook when its answer asked for that, and says so in the feed. Never rejects: the attempt stands, and is
 * announced.
 */
export async function disableAskedWebhook(
  database: Database,
  announcing: AnnounceDeps,
  { dispatch, decision }: DeliveryChange,
): Promise<void> {
  if (decision.kind !== 'failed' || !decision.disableWebhook) return;
  try {
    const webhook = await disableWebhook(database, dispatch.projectId, dispatch.webhookId, decision.reason);
    if (webhook !== null) await publish(announcing, dispatch.projectId, webhookEntry(dispatch, announcing.now()));
  } catch (error) {
    announcing.onLost('a webhook was not disabled; its next answer will ask for it again', error);
  }
}

function webhookEntry(dispatch: Dispatch, at: Date): FeedEntry {
  return {
    change: 'WEBHOOK_STATUS_CHANGED',
    at: at.toISOString(),
    webhookId: dispatch.webhookId,
    eventType: null,
    delivery: null,
    attempt: null,
  };
}
