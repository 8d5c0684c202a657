import type { FeedEntry } from '../src/feed/feed.ts';
import { publishSoon } from '../src/feed/publish-soon.ts';
import { callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import type { DeliveryRow } from './delivery.ts';
import { changedEntry } from './feed-rows.ts';

/**
 * Tells the project's feed what has been committed. A feed that cannot be reached does not fail the mutation, which has
 * happened already: the lists show the change, and whoever watches is told to read them. Nor does it hold it up for long.
 * `follow` is what may bring about the next change of the same deliveries; never rejects.
 */
export async function announce(
  context: SchemaContext,
  entries: readonly FeedEntry[],
  follow: () => Promise<void> = async () => {},
): Promise<void> {
  if (entries.length === 0) return await follow();
  const onLost = (error: unknown): void => context.onWarning('changes were not published to the feed', error);
  await publishSoon({ feed: context.feed, onLost, follow }, callerOf(context).projectId, entries);
}

/** Tells the feed what has been committed, as it is read for that. What cannot be read fails no mutation either. */
export async function announceAsRead(
  context: SchemaContext,
  read: () => Promise<readonly FeedEntry[]>,
  follow?: () => Promise<void>,
): Promise<void> {
  let entries: readonly FeedEntry[] = [];
  try {
    entries = await read();
  } catch (error) {
    context.onWarning('changes could not be read again for the feed', error);
    context.feed.expireCursors();
  }
  await announce(context, entries, follow);
}

/** Tells the feed what a person did to a delivery, and then goes on with what follows from that. */
export async function announceChange(
  context: SchemaContext,
  change: 'CREATED' | 'RESENT' | 'CANCELLED',
  delivery: DeliveryRow,
  follow?: () => Promise<void>,
): Promise<void> {
  const read = async (): Promise<readonly FeedEntry[]> => {
    const { type } = await context.database.prisma.event.findUniqueOrThrow({
      where: { id: delivery.eventId },
      select: { type: true },
    });
    return [changedEntry(change, delivery, type, new Date())];
  };
  await announceAsRead(context, read, follow);
}
