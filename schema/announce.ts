import type { FeedEntry } from '../src/feed/feed.ts';
import { callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import type { DeliveryRow } from './delivery.ts';
import { changedEntry } from './feed-rows.ts';

/**
 * Tells the project's feed what has been committed. A feed that cannot be reached does not fail the mutation, which has
 * happened already: whoever watches sees the next change, and the lists show this one.
 */
export async function announce(context: SchemaContext, entries: readonly FeedEntry[]): Promise<void> {
  if (entries.length === 0) return;
  try {
    await context.feed.publish(callerOf(context).projectId, entries);
  } catch (error) {
    context.onWarning('changes were not published to the feed', error);
  }
}

/** Tells the feed what a person did to a delivery. */
export async function announceChange(
  context: SchemaContext,
  change: 'CREATED' | 'RESENT' | 'CANCELLED',
  delivery: DeliveryRow,
): Promise<void> {
  const { type } = await context.database.prisma.event.findUniqueOrThrow({
    where: { id: delivery.eventId },
    select: { type: true },
  });
  await announce(context, [changedEntry(change, delivery, type, new Date())]);
}
