import type { FeedEntry } from '../src/feed/feed.ts';
import { publishSoon } from '../src/feed/publish-soon.ts';
import { callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import type { DeliveryRow } from './delivery.ts';
import { changedEntry } from './feed-rows.ts';

/**
 * Tells the project's feed what has been committed. A feed that cannot be reached does not fail the mutation, which has
 * happened already: the lists show the change, and whoever watches is told to read them. Nor does it hold it up for long.
 */
export async function announce(context: SchemaContext, entries: readonly FeedEntry[]): Promise<void> {
  if (entries.length === 0) return;
  const onLost = (error: unknown): void => context.onWarning('changes were not published to the feed', error);
  await publishSoon({ feed: context.feed, onLost }, callerOf(context).projectId, entries);
}

/** Tells the feed what has been committed, as it is read for that. What cannot be read fails no mutation either. */
export async function announceAsRead(context: SchemaContext, read: () => Promise<readonly FeedEntry[]>): Promise<void> {
  let entries: readonly FeedEntry[] = [];
  try {
    entries = await read();
  } catch (error) {
    context.onWarning('changes could not be read again for the feed', error);
    context.feed.expireCursors();
  }
  await announce(context, entries);
}

/** Tells the feed what a person did to a delivery. */
export async function announceChange(
  context: SchemaContext,
  change: 'CREATED' | 'RESENT' | 'CANCELLED',
  delivery: DeliveryRow,
): Promise<void> {
  await announceAsRead(context, async () => {
    const { type } = await context.database.prisma.event.findUniqueOrThrow({
      where: { id: delivery.eventId },
      select: { type: true },
    });
    return [changedEntry(change, delivery, type, new Date())];
  });
}
