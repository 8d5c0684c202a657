import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { FormattedExecutionResult } from 'graphql';
import type { LiveSubscription } from './live-subscription.ts';

/** A subscription to the feed as server-sent events, in the words of graphql-sse's distinct connections. */
export interface EventStream {
  /** Answers with the subscription; resolves when the answer has ended or its reader is gone. */
  serve: (live: LiveSubscription) => Promise<void>;
  /** Shows the other side, and whatever is between, that the stream lives. */
  beat: () => void;
}

/** How long a client that lost the stream waits before it comes back. */
const retryMs = 1_000;

const completed = 'event: complete\ndata:\n\n';

/**
 * The events of a subscription that was refused for the place it names. The empty id makes the client forget that place, so
 * that it comes back live. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export function eventsOfLostPlace(result: FormattedExecutionResult): string {
  return `id:\nevent: next\ndata: ${JSON.stringify(result)}\n\n${completed}`;
}

/** Creates the stream that an answer becomes when it is served; until then it is untouched. */
export function createEventStream(response: ServerResponse): EventStream {
  let served: LiveSubscription | null = null;
  return {
    async serve(live) {
      if (response.destroyed) return;
      served = live;
      const closed = once(response, 'close');
      response.writeHead(200, {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache, no-transform',
        'x-accel-buffering': 'no',
      });
      response.write(`retry: ${retryMs}\n${placeOf(live)}\n`);
      live.start({
        isReady(resume) {
          if (response.writableNeedDrain) response.once('drain', resume);
          return !response.writableNeedDrain;
        },
        write: (batch) => void response.write(batch.events),
        // Without `complete`, which would tell the client that there is nothing to come back for.
        closeForNow: () => void response.destroy(),
      });
      await Promise.race([live.ended, closed]);
      served = null;
      response.end(completed);
      await closed;
    },
    beat() {
      if (served !== null && !response.writableNeedDrain) response.write(`:\n${placeOf(served)}\n`);
    },
  };
}

/** An id without data moves the place that a client resumes from, though no item may have come from there. */
function placeOf(live: LiveSubscription): string {
  return live.resumable ? `id: ${live.cursor}\n` : '';
}
