import { createdEntry, webhookEntry } from '../src/feed/feed-entries.ts';
import { publishSoon } from '../src/feed/publish-soon.ts';
import { attemptEntry, resentEntry } from './feed-entry.ts';
import type { DueDelivery } from '../src/domain/delivery.ts';
import type { ProjectId } from '../src/domain/ids.ts';
import type { Feed, FeedEntry } from '../src/feed/feed.ts';
import type { DeliveryQueue, EnqueueOptions } from '../src/queue.ts';
import type { OwnEvent } from '../src/store/own-event.ts';
import type { ResentDelivery } from '../src/store/recovery-step.ts';
import type { HealthChange, WebhookRef } from '../src/store/webhook-health.ts';
import type { DeliveryChange } from './deliver.ts';

/** Where announcements go. */
export interface AnnounceDeps {
  feed: Feed;
  queue: DeliveryQueue;
  now: () => Date;
  /** Told what could not be announced, and why that loses nothing. */
  onLost: (message: string, error: unknown) => void;
}

/**
 * Tells the feed of a committed attempt, and the queue when a retry follows. Never rejects: the record stands, sweep
 * enqueues the retry when its hint was lost, and lists show what the feed could not.
 */
export async function announce(deps: AnnounceDeps, change: DeliveryChange): Promise<void> {
  const { dispatch, decision, recorded } = change;
  await publish(deps, dispatch.projectId, [attemptEntry(change, deps.now())], async () => {
    if (decision.kind === 'retry' && recorded.decided) {
      await hint(deps, [{ id: dispatch.deliveryId, webhookId: dispatch.webhookId }], { delayMs: decision.delayMs });
    }
    if (recorded.exhausted !== null) await announceOwnEvent(deps, recorded.exhausted);
  });
}

/** Tells the feed that a webhook's status is another now, and the workers of the event that says so. Never rejects. */
export async function announceHealth(deps: AnnounceDeps, webhook: WebhookRef, change: HealthChange): Promise<void> {
  if (!change.changed) return;
  await publish(deps, webhook.projectId, [webhookEntry(webhook.webhookId, deps.now())], async () => {
    if (change.event !== null) await announceOwnEvent(deps, change.event);
  });
}

/** Tells the feed what a recovery sent again, at most 1,000, and the workers what of it is due. Never rejects. */
export async function announceResent(
  deps: AnnounceDeps,
  projectId: ProjectId,
  resent: readonly ResentDelivery[],
): Promise<void> {
  if (resent.length === 0) return;
  const now = deps.now();
  const entries = resent.map((delivery) => resentEntry(delivery, now));
  const due = resent.filter(({ dueAt }) => dueAt !== null);
  await publish(deps, projectId, entries, async () => await hint(deps, due));
}

/** Publishes entries, and then does what may bring about the next change of their deliveries. Never rejects. */
export async function publish(
  deps: AnnounceDeps,
  projectId: ProjectId,
  entries: readonly FeedEntry[],
  follow: () => Promise<void> = async () => {},
): Promise<void> {
  const onLost = (error: unknown): void =>
    deps.onLost('a change was not published to the feed; the lists show it', error);
  await publishSoon({ feed: deps.feed, onLost, follow }, projectId, entries);
}

async function announceOwnEvent(deps: AnnounceDeps, { event, deliveries }: OwnEvent): Promise<void> {
  if (deliveries.length === 0) return;
  const entries = deliveries.map((delivery) => createdEntry(event, delivery, deps.now()));
  const due = deliveries.filter(({ status, held }) => status === 'PENDING' && !held);
  await publish(deps, event.projectId, entries, async () => await hint(deps, due));
}

async function hint(deps: AnnounceDeps, due: readonly DueDelivery[], options?: EnqueueOptions): Promise<void> {
  await deps.queue
    .enqueue(due, options)
    .catch((error: unknown) => deps.onLost('a delivery was not enqueued; sweep will find it', error));
}
