import {
  CreateWebhookDocument,
  DeliveryCountDocument,
  DeliveryDocument,
  DeliveryFeedDocument,
  EmitEventDocument,
  PauseWebhookDocument,
  ResumeWebhookDocument,
} from '../generated/graphql.ts';
import type {
  CreateWebhookInput,
  DeliveryFeedSubscription,
  DeliveryQuery,
  DeliveryStatus,
  WebhookPartsFragment,
} from '../generated/graphql.ts';
import { untilFound } from './e2e-client.ts';
import type { ApiClient, Watch } from './e2e-client.ts';

// What the end-to-end tests do again and again, through the API.

export type FeedItem = DeliveryFeedSubscription['deliveryFeed'];
export type DeliveryWithAttempts = NonNullable<DeliveryQuery['delivery']>;

/** Creates a webhook that gets one event type, made from its name. */
export async function createWebhook(
  client: ApiClient,
  name: string,
  input: Omit<CreateWebhookInput, 'name' | 'eventTypes'>,
): Promise<{ webhook: WebhookPartsFragment; secret: string; eventType: string }> {
  const eventType = `test.${name.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_')}`;
  const { createWebhook: made } = await client.run(CreateWebhookDocument, {
    input: { name, eventTypes: [eventType], ...input },
  });
  if (made.webhook === null || made.webhook === undefined || typeof made.secret !== 'string') {
    throw new Error(`no webhook was made: ${JSON.stringify(made.userErrors)}`);
  }
  return { webhook: made.webhook, secret: made.secret, eventType };
}

/** Emits an event and gives its id, its body, and its deliveries. */
export async function emit(
  client: ApiClient,
  type: string,
  data: unknown = {},
): Promise<{ eventId: string; body: string; deliveryIds: string[] }> {
  const { emitEvent } = await client.run(EmitEventDocument, { input: { type, data } });
  if (!emitEvent.event) throw new Error(`no event was stored: ${JSON.stringify(emitEvent.userErrors)}`);
  const { id, body, deliveries } = emitEvent.event;
  return { eventId: id, body, deliveryIds: deliveries.nodes.map((delivery) => delivery.id) };
}

/** Emits an event that goes to one webhook, and gives the delivery's id. */
export async function emitOne(client: ApiClient, type: string, data: unknown = {}): Promise<string> {
  const { deliveryIds } = await emit(client, type, data);
  const [deliveryId] = deliveryIds;
  if (deliveryId === undefined || deliveryIds.length > 1) throw new Error(`${deliveryIds.length} webhooks get ${type}`);
  return deliveryId;
}

/** The delivery as soon as it has the status. */
export async function untilStatus(
  client: ApiClient,
  deliveryId: string,
  status: DeliveryStatus,
): Promise<DeliveryWithAttempts> {
  let last: DeliveryWithAttempts | null = null;
  const look = async (): Promise<DeliveryWithAttempts | null> => {
    last = (await client.run(DeliveryDocument, { id: deliveryId })).delivery ?? null;
    return last?.status === status ? last : null;
  };
  return await untilFound(`${deliveryId} to be ${status}`, look).catch((cause: unknown) => {
    throw new Error(`${deliveryId} is not ${status}: ${JSON.stringify(last)}`, { cause });
  });
}

/** How many deliveries there are in each of the statuses, and in all. */
export async function countDeliveries(
  client: ApiClient,
  statuses: readonly DeliveryStatus[],
  webhookIds: string[],
): Promise<Record<string, number | null>> {
  const count = async (filter: { statuses?: DeliveryStatus[] }): Promise<number | null> =>
    (await client.run(DeliveryCountDocument, { filter: { ...filter, webhookIds } })).deliveries.totalCount ?? null;
  const counts = statuses.map(async (status) => [status, await count({ statuses: [status] })]);
  return { all: await count({}), ...Object.fromEntries(await Promise.all(counts)) };
}

/** A live feed of some webhooks that is known to be running. */
export interface FeedWatch extends Disposable {
  next(): Promise<FeedItem>;
  /** The items up to and with the first one that `isLast` is true of. */
  until(isLast: (item: FeedItem) => boolean): Promise<FeedItem[]>;
}

export interface FeedWatchOptions {
  over?: 'websocket' | 'sse';
  after?: string;
}

/**
 * Watches the feed of the webhooks. A subscription has no answer before its first item: a webhook beside is paused and
 * resumed until that is seen, and what comes of it is left out.
 */
export async function watchFeed(
  client: ApiClient,
  webhookIds: readonly string[],
  { over = 'websocket', after }: FeedWatchOptions = {},
): Promise<FeedWatch> {
  const { webhook: marker } = await createWebhook(client, 'Marker', { url: 'http://127.0.0.1:9/' });
  const variables = { filter: { webhookIds: [...webhookIds, marker.id] }, after };
  const watch = (over === 'sse' ? client.watchOverSse : client.watch)(DeliveryFeedDocument, variables);
  const seen: FeedItem[] = [];
  await untilFound('the feed to run', async () => {
    await client.run(PauseWebhookDocument, { id: marker.id });
    await client.run(ResumeWebhookDocument, { id: marker.id });
    return await takeUntilMarker(watch, marker.id, seen).catch(ignoreNothingYet);
  });
  async function next(): Promise<FeedItem> {
    const [first] = seen.splice(0, 1);
    if (first !== undefined) return first;
    for (;;) {
      const { deliveryFeed: item } = await watch.next();
      if (item.webhook.id !== marker.id) return item;
    }
  }
  return {
    next,
    until: async (isLast) => {
      const items: FeedItem[] = [];
      for (;;) {
        const item = await next().catch((cause: unknown) => {
          const changes = items.map(({ change, attempt }) => `${change} ${attempt?.number ?? ''}`);
          throw new Error(`the awaited item has not come, after: ${changes.join(', ')}`, { cause });
        });
        items.push(item);
        if (isLast(item)) return items;
      }
    },
    [Symbol.dispose]: () => watch[Symbol.dispose](),
  };
}

/** Takes items into `seen` until the marker's; true then. */
async function takeUntilMarker(
  watch: Watch<DeliveryFeedSubscription>,
  markerId: string,
  seen: FeedItem[],
): Promise<true> {
  for (;;) {
    const { deliveryFeed: item } = await watch.next(200);
    if (item.webhook.id === markerId) return true;
    seen.push(item);
  }
}

function ignoreNothingYet(error: unknown): null {
  if (error instanceof Error && error.message.startsWith('no item of the subscription came')) return null;
  throw error;
}
