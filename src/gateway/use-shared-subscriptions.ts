import { createSourceEventStream, execute, GraphQLError } from 'graphql';
import { findLiveItems } from '../../schema/live-items.ts';
import { FeedError } from '../feed/feed.ts';
import { eventsOfLostPlace } from './event-stream.ts';
import { formatResult } from './format-result.ts';
import { rootOf } from './mask-error.ts';
import { currentOperation, endSpan } from './operation-scope.ts';
import type { ExecutionArgs, ExecutionResult } from 'graphql';
import type { Plugin } from 'graphql-yoga';
import type { SharedSubscriptions } from './shared-subscriptions.ts';

/**
 * Tells the operation's scope when a subscription turns out to be one to the feed: its transport then writes the shared
 * results, and leaves the stream of its own alone that every subscription gives.
 */
export function useSharedSubscriptions(subscriptions: SharedSubscriptions): Plugin {
  return {
    onSubscribe: ({ setSubscribeFn }) => {
      setSubscribeFn(async (args: ExecutionArgs) => {
        // Yoga would stream to whoever accepts anything, and nobody would look after that connection.
        if (currentOperation().transport === 'http') return { errors: [notAStream()] };
        const source = await createSourceEventStream(args);
        if (!(Symbol.asyncIterator in source)) return source;
        const scope = currentOperation();
        endSpan(scope);
        const items = findLiveItems(source);
        if (items !== null) scope.live = subscriptions.open(args, items, scope);
        return resultsOf(source, args);
      });
    },
    onResultProcess: (hook) => {
      const { live, serveEvents } = currentOperation();
      if (serveEvents === null) return;
      if (live === null) return tellPlaceIsLost(hook);
      hook.setResultProcessor(async (_result, { Response }) => {
        await serveEvents(live);
        return new Response(null); // the answer has been written and has ended
      }, 'text/event-stream');
    },
  };
}

function notAStream(): GraphQLError {
  const message =
    'A subscription over HTTP is answered with server-sent events only: send "accept: text/event-stream".';
  return new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', http: { status: 406 } } });
}

type ResultProcessHook = Parameters<NonNullable<Plugin['onResultProcess']>>[0];

/** A client that the feed refuses for its place must not come back with the same one for ever. */
function tellPlaceIsLost(hook: ResultProcessHook): void {
  const { result } = hook;
  const errors = 'errors' in result ? result.errors : undefined;
  if (!('errors' in result) || errors?.some((error) => rootOf(error) instanceof FeedError) !== true) return;
  const events = eventsOfLostPlace(formatResult(result));
  const headers = { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache, no-transform' };
  hook.setResultProcessor((_result, { Response }) => new Response(events, { headers }), 'text/event-stream');
}

/**
 * A subscription's results, one execution for each item; they end with the first failure of their source. It is no
 * generator: `return` must reach the source while `next` waits.
 */
function resultsOf(source: AsyncIterable<unknown>, args: ExecutionArgs): AsyncIterableIterator<ExecutionResult> {
  const iterator = source[Symbol.asyncIterator]();
  const done = { done: true, value: undefined } as const;
  let failed = false;
  return {
    async next() {
      if (failed) return done;
      try {
        const item = await iterator.next();
        return item.done === true ? done : { done: false, value: await execute({ ...args, rootValue: item.value }) };
      } catch (error) {
        failed = true;
        throw error;
      }
    },
    async return() {
      await iterator.return?.();
      return done;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}
