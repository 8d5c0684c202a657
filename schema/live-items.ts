import { FeedError, type FeedErrorCode, type FeedItem, type FeedSubscription } from '../src/feed/feed.ts';
import { apiError, type ErrorCode } from './errors.ts';

/** What a subscription's field resolves: a value, or the error that ends the subscription. */
export type LiveItem<Value> = { kind: 'value'; value: Value } | { kind: 'error'; error: unknown };

/**
 * The items of a feed subscription that `pick` makes something of, after `first` where there is one. A feed that fails
 * gives its error as the last item, so that every transport shows it as an ordinary GraphQL error. It is no generator:
 * `return` must reach the feed while `next` waits.
 */
export function liveItems<Value>(
  source: FeedSubscription,
  pick: (item: FeedItem) => Value | null,
  first: readonly Value[] = [],
): AsyncIterableIterator<LiveItem<Value>> {
  const waiting = [...first];
  let failed = false;

  async function next(): Promise<IteratorResult<LiveItem<Value>>> {
    const [value] = waiting.splice(0, 1);
    if (value !== undefined) return { done: false, value: { kind: 'value', value } };
    for (;;) {
      if (failed) return { done: true, value: undefined };
      const result = await source.next();
      if (result.done === true) return { done: true, value: undefined };
      const picked = pick(result.value);
      if (picked !== null) return { done: false, value: { kind: 'value', value: picked } };
    }
  }

  return {
    next: async () => {
      try {
        return await next();
      } catch (error) {
        failed = true;
        return { done: false, value: { kind: 'error', error: feedErrorOf(error) } };
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

/** The value of an item. Throws the error that it stands for. */
export function valueOf<Value>(item: LiveItem<Value>): Value {
  if (item.kind === 'error') throw item.error;
  return item.value;
}

const codeByFeedCode = {
  CURSOR_EXPIRED: 'CURSOR_EXPIRED',
  BAD_CURSOR: 'BAD_USER_INPUT',
} as const satisfies Record<FeedErrorCode, ErrorCode>;

/** The GraphQL error that a feed's error means to the caller; any other error is passed on as it is. */
export function feedErrorOf(error: unknown): unknown {
  return error instanceof FeedError ? apiError(codeByFeedCode[error.code], error.message) : error;
}
