import { setTimeout as after } from 'node:timers/promises';
import {
  DeliveryPlaceFeedDocument,
  DeliveryPlacesByIdDocument,
  DeliveryPlacesDocument,
  FeedCursorDocument,
} from '../generated/graphql.ts';
import type {
  DeliveryPlaceFeedSubscription,
  DeliveryPlaceFragment,
  DeliveryPlacesByIdQuery,
  DeliveryPlacesQuery,
  DeliveryStatus,
} from '../generated/graphql.ts';
import { hasEnded } from '../../src/domain/delivery.ts';
import type { PatientCalls } from './chaos-calls.ts';
import { createApiClient } from './e2e-client.ts';
import type { Watch } from './e2e-client.ts';

// A client of the feed that does what the README says and nothing else: it keeps the last cursor, resumes behind it at
// either gateway, and after CURSOR_EXPIRED asks for the newest cursor, reads the lists and goes on from there.

/** Where a delivery stands, as the client has it. */
export interface SeenDelivery {
  status: DeliveryStatus;
  attemptCount: number;
}

export interface ChaosSubscriber {
  name: string;
  /** Every delivery that it knows of, by id. */
  view: ReadonlyMap<string, SeenDelivery>;
  figures: SubscriberFigures;
  /** Ends it; resolves when it has ended, and rejects with what it could not go on after. */
  stop: () => Promise<void>;
}

export interface SubscriberFigures {
  itemCount: number;
  /** Times that it resumed behind its cursor. */
  resumeCount: number;
  /** Times that its cursor was not kept any more. */
  expiryCount: number;
  /** Seconds that it read lists. */
  listSeconds: number;
  /** Items that told of a delivery's past, of which an earlier item had told the later. */
  lateCount: number;
  /** Subscriptions that were refused or ended with an error, by its code. */
  refusals: Map<string, number>;
}

type Transport = 'websocket' | 'sse';

/** Twice the heartbeat of an event stream. */
const silenceMaxMs = 24_000;
const pauseMs = 200;
/** How much older than the newest that it knows a delivery may be that it was not told of. */
const overlapMs = 20_000;
const idsPerCall = 100;
/** The lists must be read before the feed has dropped the place where reading began: 10,000 items are half a minute. */
const callsAtOnce = 8;

/** A delivery as the client keeps it. */
interface KeptDelivery extends SeenDelivery {
  createdAt: string;
  toldBy: 'item' | 'list';
}

/** Starts to watch, with the lists first. */
export function startSubscriber(name: string, transport: Transport, calls: PatientCalls): ChaosSubscriber {
  const view = new Map<string, KeptDelivery>();
  const figures = {
    itemCount: 0,
    resumeCount: 0,
    expiryCount: 0,
    listSeconds: 0,
    lateCount: 0,
    refusals: new Map<string, number>(),
  };
  const stopping = new AbortController();
  const subscriber = { transport, calls, view, figures, cursor: null, turn: 0, stopping: stopping.signal };
  const running = watchOn(subscriber);
  running.catch(() => undefined); // whoever stops it is told
  return {
    name,
    view,
    figures,
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

interface Subscriber {
  transport: Transport;
  calls: PatientCalls;
  view: Map<string, KeptDelivery>;
  figures: SubscriberFigures;
  /** Null before the lists are read. */
  cursor: string | null;
  turn: number;
  stopping: AbortSignal;
}

async function watchOn(subscriber: Subscriber): Promise<void> {
  while (!subscriber.stopping.aborted) {
    if (subscriber.cursor === null) {
      const { feedCursor } = await subscriber.calls.ask(FeedCursorDocument, {});
      await readLists(subscriber);
      subscriber.cursor = feedCursor;
    } else subscriber.figures.resumeCount += 1;
    await watchOnce(subscriber);
    if (!subscriber.stopping.aborted) await after(pauseMs);
  }
}

/** One subscription, until it ends, at the gateway whose turn it is. */
async function watchOnce(subscriber: Subscriber): Promise<void> {
  const { calls, transport, cursor, stopping } = subscriber;
  const url = calls.gatewayUrls[subscriber.turn++ % calls.gatewayUrls.length] ?? '';
  const endpoint = { graphqlUrl: `${url}/graphql`, websocketUrl: `${url.replace('http', 'ws')}/graphql` };
  await using client = createApiClient(endpoint, calls.apiKey);
  using watch = (transport === 'sse' ? client.watchOverSse : client.watch)(DeliveryPlaceFeedDocument, {
    after: cursor,
  });
  const stop = (): void => watch[Symbol.dispose]();
  stopping.addEventListener('abort', stop, { once: true });
  try {
    await takeItems(subscriber, watch);
  } finally {
    stopping.removeEventListener('abort', stop);
  }
}

/** Takes items until there are no more: the end, a broken connection, silence, or an error that it is told of. */
async function takeItems(subscriber: Subscriber, watch: Watch<DeliveryPlaceFeedSubscription>): Promise<void> {
  for (;;) {
    const answer = await watch.nextAnswer(silenceMaxMs).catch(() => null);
    if (answer === null) return;
    if (answer.data === null) return noteRefusal(subscriber, String(answer.errors[0]?.code));
    const { cursor, delivery } = answer.data.deliveryFeed;
    if (delivery) takeItem(subscriber, delivery);
    subscriber.cursor = cursor;
  }
}

function takeItem({ view, figures }: Subscriber, delivery: DeliveryPlaceFragment): void {
  figures.itemCount += 1;
  const isNews = take(view, delivery, 'item');
  if (!isNews && view.get(delivery.id)?.toldBy === 'item') figures.lateCount += 1;
}

function noteRefusal(subscriber: Subscriber, code: string): void {
  const { figures } = subscriber;
  figures.refusals.set(code, (figures.refusals.get(code) ?? 0) + 1);
  if (code !== 'CURSOR_EXPIRED') return;
  figures.expiryCount += 1;
  subscriber.cursor = null;
}

/** Reads what it may have missed: the youngest deliveries, and those that it knows as not ended. */
async function readLists(subscriber: Subscriber): Promise<void> {
  const { calls, view, figures } = subscriber;
  const beganAt = performance.now();
  const open = [...view].filter(([, { status }]) => !hasEnded(status)).map(([id]) => id);
  const newestAt = [...view.values()].reduce((newest, { createdAt }) => Math.max(newest, Date.parse(createdAt)), 0);
  const filter = { since: new Date(Math.max(0, newestAt - overlapMs)).toISOString() };
  let cursor: string | null = null;
  for (;;) {
    const { deliveries }: DeliveryPlacesQuery = await calls.ask(DeliveryPlacesDocument, { filter, after: cursor });
    for (const delivery of deliveries.nodes) take(view, delivery, 'list');
    cursor = deliveries.pageInfo.endCursor ?? null;
    if (!deliveries.pageInfo.hasNextPage) break;
  }
  await readOpen(subscriber, open);
  figures.listSeconds += (performance.now() - beganAt) / 1_000;
}

/** Reads where these deliveries are now, several calls at a time. */
async function readOpen({ calls, view }: Subscriber, ids: readonly string[]): Promise<void> {
  let from = 0;
  const lanes = Array.from({ length: callsAtOnce }, async () => {
    while (from < ids.length) {
      const some = ids.slice(from, from + idsPerCall);
      from += idsPerCall;
      const { nodes } = await calls.ask(DeliveryPlacesByIdDocument, { ids: some });
      for (const node of nodes) if (isDelivery(node)) take(view, node, 'list');
    }
  });
  await Promise.all(lanes);
}

function isDelivery(node: DeliveryPlacesByIdQuery['nodes'][number]): node is DeliveryPlaceFragment {
  return node !== null && node !== undefined && 'status' in node;
}

/** Takes over where a delivery stands; false when it is known to have been there and gone on. */
function take(
  view: Subscriber['view'],
  { id, status, attemptCount, createdAt }: DeliveryPlaceFragment,
  toldBy: KeptDelivery['toldBy'],
): boolean {
  const known = view.get(id);
  if (known !== undefined && isPast({ status, attemptCount }, known)) return false;
  view.set(id, { status, attemptCount, createdAt, toldBy });
  return true;
}

/** Whether a delivery stood there before it stood as is known: attempts only become more, and an end is the last. */
function isPast(told: SeenDelivery, known: SeenDelivery): boolean {
  if (told.attemptCount !== known.attemptCount) return told.attemptCount < known.attemptCount;
  return hasEnded(known.status) && !hasEnded(told.status);
}
