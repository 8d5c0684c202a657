import type { DeliveryStatus as Status } from '../src/domain/delivery.ts';
import { matchesEventType } from '../src/domain/event-type.ts';
import { uuidOf } from '../src/domain/ids.ts';
import type { FeedChange, FeedEntry, FeedItem } from '../src/feed/feed.ts';
import { Attempt } from './attempt.ts';
import { builder } from './builder.ts';
import { callerOf, projectUuidOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { Delivery, deliveryColumns, type DeliveryRow } from './delivery.ts';
import { DeliveryStatus, ownedUuids, parseEventTypeFilters } from './delivery-filter.ts';
import { loadWebhook } from './delivery-relations.ts';
import { notFound } from './errors.ts';
import { attemptRowOf, deliveryRowOf } from './feed-rows.ts';
import { type LiveItem, liveItems, subscribeToFeed, valueOf } from './live-items.ts';
import { findUuid } from './uuid.ts';
import { Webhook } from './webhook.ts';

const Change = builder.enumType('DeliveryChange', {
  description: 'What changed.',
  values: {
    CREATED: { description: 'An event was fanned out to a webhook.' },
    ATTEMPTED: { description: 'An attempt was made.' },
    RETRY_SCHEDULED: { description: 'An attempt failed and the next one is planned.' },
    DELIVERED: { description: 'The receiver took it.' },
    FAILED: { description: 'It failed for good.' },
    SKIPPED: { description: 'The webhook was disabled when the event came.' },
    CANCELLED: { description: 'A person stopped it.' },
    RESENT: { description: 'A person sent it again.' },
    WEBHOOK_STATUS_CHANGED: { description: 'The webhook was paused, resumed, disabled or deleted, or began to fail.' },
  },
});

interface DeliveryFeedFilterInput {
  webhookIds?: readonly string[] | null | undefined;
  statuses?: readonly Status[] | null | undefined;
  eventTypes?: readonly string[] | null | undefined;
  changes?: readonly FeedChange[] | null | undefined;
  onlyFailures?: boolean | null | undefined;
}

const DeliveryFeedFilter = builder.inputType('DeliveryFeedFilter', {
  description: 'Narrows the feed. Everything given must be true; an absent or null entry narrows nothing.',
  fields: (t) => ({
    webhookIds: t.idList({ description: 'Of one of these webhooks; at most 100.' }),
    statuses: t.field({ type: [DeliveryStatus], description: 'That left the delivery in one of these statuses.' }),
    eventTypes: t.stringList({
      description: 'Of an event type that one of these filters takes: `*`, `config.*` or exact.',
    }),
    changes: t.field({ type: [Change], description: 'One of these changes.' }),
    onlyFailures: t.boolean({
      description: 'Only attempts that failed and deliveries that failed for good, when true.',
    }),
  }),
});

const DeliveryFeedItem = builder.objectRef<FeedItem>('DeliveryFeedItem').implement({
  description: 'One change, with its place in the feed.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: 'Its place: pass it as `after` to go on right behind it.' }),
    at: t.field({
      type: 'DateTime',
      description: 'When it was published.',
      resolve: ({ entry }) => new Date(entry.at),
    }),
    change: t.field({ type: Change, description: 'What changed.', resolve: ({ entry }) => entry.change }),
    delivery: t.field({
      type: Delivery,
      nullable: true,
      description: 'The delivery as it was right after the change; null when only the webhook changed.',
      resolve: ({ entry }, _args, context) =>
        entry.delivery && deliveryRowOf(callerOf(context).projectId, entry.delivery),
    }),
    attempt: t.field({
      type: Attempt,
      nullable: true,
      description: 'The attempt that made the change; null when none did.',
      resolve: ({ entry: { delivery, attempt } }) => delivery && attempt && attemptRowOf(delivery.id, attempt),
    }),
    webhook: t.field({
      type: Webhook,
      description: 'The webhook, as it is now.',
      resolve: async ({ entry }, _args, context) => await loadWebhook(context, uuidOf(entry.webhookId)),
    }),
  }),
});

builder.queryFields((t) => ({
  feedCursor: t.string({
    needs: 'VIEW_WEBHOOKS',
    description:
      'The newest place of the project’s feed. Ask for it, then read lists, then subscribe `after` it: nothing is missed ' +
      'in between.',
    resolve: async (_root, _args, context) => {
      const source = await subscribeToFeed(context);
      await source.return?.();
      return source.cursor;
    },
  }),
}));

builder.subscriptionFields((t) => ({
  deliveryFeed: t.field({
    type: DeliveryFeedItem,
    needs: 'VIEW_WEBHOOKS',
    description: 'The changes of the project’s deliveries, live, in order, each once.',
    args: {
      filter: t.arg({
        type: DeliveryFeedFilter,
        description: 'Only changes that all of this is true of; absent takes all.',
      }),
      after: t.arg.string({
        description:
          'Goes on right behind this cursor: first what was missed, then live. Without it the feed is live from now, ' +
          'or over server-sent events behind the `Last-Event-ID` of the request. ' +
          'CURSOR_EXPIRED when its place is no longer kept, or something behind it may be missing: read the list by query ' +
          'and subscribe anew. UNAVAILABLE when the feed is away for now: subscribe again, a little later, in the same way.',
      }),
    },
    subscribe: async (_root, { filter, after }, context) => {
      const matches = await parseFeedFilter(context, filter ?? null);
      const source = await subscribeToFeed(context, { after: after ?? context.lastEventId ?? null });
      return liveItems(source, { pick: (item) => (matches(item.entry) ? item : null), startArgument: 'after' });
    },
    resolve: (item) => valueOf(item),
  }),
  deliveryUpdated: t.field({
    type: Delivery,
    needs: 'VIEW_WEBHOOKS',
    description: 'One delivery: as it is now, and then after each change.',
    args: { id: t.arg.id({ required: true, description: 'The delivery, `dlv_…`.' }) },
    subscribe: async (_root, { id }, context) => await watchDelivery(context, id),
    resolve: (item) => valueOf(item),
  }),
}));

async function watchDelivery(context: SchemaContext, id: string): Promise<AsyncIterable<LiveItem<DeliveryRow>>> {
  const { projectId } = callerOf(context);
  // Subscribed before the row is read, so that no change falls between.
  const source = await subscribeToFeed(context);
  try {
    const current = await findDelivery(context, id);
    if (current === null) throw notFound('delivery', id);
    const pick = ({ entry: { delivery } }: FeedItem): DeliveryRow | null =>
      delivery?.id === id ? deliveryRowOf(projectId, delivery) : null;
    return liveItems(source, { pick, first: [current] });
  } catch (error) {
    await source.return?.();
    throw error;
  }
}

async function findDelivery(context: SchemaContext, id: string): Promise<DeliveryRow | null> {
  const uuid = findUuid('delivery', id);
  if (uuid === null) return null;
  return await context.database.prisma.delivery.findFirst({
    select: deliveryColumns,
    where: { id: uuid, projectId: projectUuidOf(context) },
  });
}

/** What the filter lets through. Throws NOT_FOUND for a webhook that the project does not have. */
async function parseFeedFilter(
  context: SchemaContext,
  filter: DeliveryFeedFilterInput | null,
): Promise<(entry: FeedEntry) => boolean> {
  if (filter === null) return () => true;
  await ownedUuids(context, 'webhook', filter.webhookIds ?? null);
  const { webhookIds = null, statuses = null, eventTypes = null, changes = null, onlyFailures } = filter;
  if (eventTypes !== null) parseEventTypeFilters('filter.eventTypes', eventTypes);
  return (entry) =>
    includes(webhookIds, entry.webhookId) &&
    includes(statuses, entry.delivery?.status) &&
    includes(changes, entry.change) &&
    (onlyFailures !== true || isFailure(entry)) &&
    (eventTypes === null || (entry.eventType !== null && matchesEventType(eventTypes, entry.eventType)));
}

/** Whether an attempt failed, or the delivery did with or without one. */
function isFailure({ change, attempt }: FeedEntry): boolean {
  return change === 'FAILED' || attempt?.outcome === 'FAILED';
}

function includes<Value>(wanted: readonly Value[] | null, value: Value | undefined): boolean {
  return wanted === null || (value !== undefined && wanted.includes(value));
}
