import { endsWithin } from '../time-limit.ts';
import type { ProjectId } from '../domain/ids.ts';
import type { Feed, FeedEntry } from './feed.ts';

/** What a caller waits for a feed that is slow, in milliseconds: a publish takes 1 to 2 when all is well. */
const waitMsMax = 250;

/** Where entries go, and who is told why they did not get there. */
export interface Publishing {
  feed: Feed;
  onLost: (error: unknown) => void;
}

/**
 * Publishes what has been committed. Never rejects, and never takes long: a publish that is slow goes on by itself, which
 * loses nothing, as the feed keeps the order, ends it before it is disposed, and tells its readers when it fails.
 */
export async function publishSoon(
  { feed, onLost }: Publishing,
  projectId: ProjectId,
  entries: readonly FeedEntry[],
): Promise<void> {
  await endsWithin(waitMsMax, feed.publish(projectId, entries).catch(onLost));
}
