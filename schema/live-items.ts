import { GraphQLError } from 'graphql';
import {
  FeedError,
  type FeedErrorCode,
  type FeedItem,
  type FeedSubscription,
  type SubscribeOptions,
} from '../src/feed/feed.ts';
import { callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import type { ErrorCode } from './errors.ts';

/** What a subscription's field resolves: a value, or the error that ends the subscription. */
export type LiveItem<Value> = { kind: 'value'; value: Value } | { kind: 'error'; error: unknown };

/** How the feed makes a subscription's items. */
export interface LivePlan<Value> {
  /** What an item means to the subscriber; null passes it over. */
  pick: (item: FeedItem) => Value | null;
  /** What comes before the feed's items. */
  first?: readonly Value[];
  /** The field's argument that only says where to start: subscriptions that differ in nothing else are the same. */
  startArgument?: string;
}

/**
 * What a subscription's resolver gives. Whoever serves many subscribers of one kind need not iterate it: `plan` and the
 * subscription itself are there, so that each item is executed once for all of them.
 */
export interface LiveItems<Value> extends AsyncIterableIterator<LiveItem<Value>> {
  readonly plan: LivePlan<Value>;
  readonly subscription: FeedSubscription;
}

/** Subscribes to the feed of the caller's project. Rejects with the GraphQL error that the feed's own means. */
export async function subscribeToFeed(
  context: SchemaContext,
  options: SubscribeOptions = {},
): Promise<FeedSubscription> {
  try {
    return await context.feed.subscribe(callerOf(context).projectId, options);
  } catch (error) {
    throw feedErrorOf(error);
  }
}

/**
 * The items of a feed subscription as the plan makes them. A feed that fails gives its error as the last item, so that
 * every transport shows it as an ordinary GraphQL error. It is no generator: `return` must reach the feed while `next` waits.
 */
export function liveItems<Value>(source: FeedSubscription, plan: LivePlan<Value>): LiveItems<Value> {
  const waiting = [...(plan.first ?? [])];
  let failed = false;

  async function next(): Promise<IteratorResult<LiveItem<Value>>> {
    const [value] = waiting.splice(0, 1);
    if (value !== undefined) return { done: false, value: { kind: 'value', value } };
    for (;;) {
      if (failed) return { done: true, value: undefined };
      const result = await source.next();
      if (result.done === true) return { done: true, value: undefined };
      const picked = plan.pick(result.value);
      if (picked !== null) return { done: false, value: { kind: 'value', value: picked } };
    }
  }

  return {
    plan,
    subscription: source,
    next: async () => {
      try {
        return await next();
      } catch (error) {
        failed = true;
        return { done: false, value: errorItem(error) };
      }
    },
    return: async () => {
      failed = true;
      waiting.length = 0;
      await source.return?.();
      return { done: true, value: undefined };
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

/** What a subscription's resolver gave, when it is made of the feed; null when it is any other stream. */
export function findLiveItems(stream: object): LiveItems<unknown> | null {
  return isLiveItems(stream) ? stream : null;
}

function isLiveItems(stream: object): stream is LiveItems<unknown> {
  return 'plan' in stream && 'subscription' in stream;
}

/** The item that ends a subscription whose feed failed. */
export function errorItem(error: unknown): { kind: 'error'; error: unknown } {
  return { kind: 'error', error: feedErrorOf(error) };
}

/** The value of an item. Throws the error that it stands for. */
export function valueOf<Value>(item: LiveItem<Value>): Value {
  if (item.kind === 'error') throw item.error;
  return item.value;
}

const codeByFeedCode = {
  CURSOR_EXPIRED: 'CURSOR_EXPIRED',
  BAD_CURSOR: 'BAD_USER_INPUT',
  UNAVAILABLE: 'UNAVAILABLE',
} as const satisfies Record<FeedErrorCode, ErrorCode>;

/** When to ask again what cannot be answered now. */
const retryAfterSeconds = 2;
const retryLater = {
  retryAfterSeconds,
  http: { status: 503, headers: { 'retry-after': String(retryAfterSeconds) } },
};

/** The GraphQL error that a feed's error means to the caller; any other error is passed on as it is. */
export function feedErrorOf(error: unknown): unknown {
  if (!(error instanceof FeedError)) return error;
  const code = codeByFeedCode[error.code];
  const extensions = error.code === 'UNAVAILABLE' ? { code, ...retryLater } : { code };
  return new GraphQLError(error.message, { extensions, originalError: error });
}
