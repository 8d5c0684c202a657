import { attemptEntry } from './feed-entry.ts';
import type { Feed, FeedEntry } from '../src/feed/feed.ts';
import type { DeliveryQueue } from '../src/queue.ts';
import type { ProjectId } from '../src/domain/ids.ts';
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
  const told = publish(deps, dispatch.projectId, attemptEntry(change, deps.now()));
  if (decision.kind === 'retry' && recorded.decided) {
    await deps.queue
      .enqueue([dispatch.deliveryId], decision.delayMs)
      .catch((error: unknown) => deps.onLost('a retry was not enqueued; sweep will find it', error));
  }
  await told;
}

/** Publishes one entry. Never rejects. */
export async function publish(deps: AnnounceDeps, projectId: ProjectId, entry: FeedEntry): Promise<void> {
  await deps.feed
    .publish(projectId, [entry])
    .catch((error: unknown) => deps.onLost('a change was not published to the feed; the lists show it', error));
}
