import { endsWithin } from '../time-limit.ts';
import type { ProjectId } from '../domain/ids.ts';
import type { Feed, FeedEntry } from './feed.ts';

/** What a caller waits for a feed that is slow, in milliseconds: a publish takes 1 to 2 when all is well. */
const waitMsMax = 250;

/** Where entries go, and who is told why they did not get there. */
export interface Publishing {
  feed: Feed;
  onLost: (error: unknown) => void;
  /**
   * What may bring about the next change of the same deliveries; never rejects. It begins when the publish has settled, so
   * that no other process publishes that change before this one.
   */
  follow?: () => Promise<void>;
}

/**
 * Publishes what has been committed. Never rejects, and is not held up by a slow feed: the publish goes on by itself then,
 * which loses nothing, as the feed ends it before it is disposed and tells its readers when it fails.
 */
export async function publishSoon(
  { feed, onLost, follow }: Publishing,
  projectId: ProjectId,
  entries: readonly FeedEntry[],
): Promise<void> {
  const published = feed.publish(projectId, entries).catch(onLost);
  const followed = published.then(async () => await follow?.());
  if (await endsWithin(waitMsMax, published)) await followed;
}
