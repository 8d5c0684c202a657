import { EventEmitter, once } from 'node:events';
import { graphql } from '../generated/gql.ts';
import { feedLine } from './feed-line.ts';
import type { DocumentType } from '../generated/gql.ts';
import type { DemoClient } from './demo-client.ts';

const feedSubscription = graphql(`
  subscription DemoFeed($filter: DeliveryFeedFilter) {
    deliveryFeed(filter: $filter) {
      at
      change
      webhook {
        name
      }
      delivery {
        nextAttemptAt
        event {
          id
          type
        }
      }
      attempt {
        number
        trigger
        responseStatus
        errorCode
        durationMs
      }
    }
  }
`);

/** One item of the feed, as the demo asks for it. */
export type DemoFeedItem = DocumentType<typeof feedSubscription>['deliveryFeed'];

/** The live feed of the demo's webhooks, printed as it comes. */
export interface DemoFeed extends Disposable {
  /** Every item so far. */
  items: readonly DemoFeedItem[];
  /**
   * Whether the condition, looked at after every item, came true within the limit.
   * Rejects with the signal's reason, or with why the feed ended.
   */
  until(holds: () => boolean, options: { limitMs: number; signal: AbortSignal }): Promise<boolean>;
}

/** Subscribes to the feed of the webhooks and prints a line for each item. */
export function watchFeed(client: DemoClient, webhookIds: readonly string[], print: (text: string) => void): DemoFeed {
  const items: DemoFeedItem[] = [];
  const arrivals = new EventEmitter();
  let endedBecause: Error | null = null;
  const end = client.subscribe(
    feedSubscription,
    { filter: { webhookIds: [...webhookIds] } },
    {
      next: ({ deliveryFeed }) => {
        items.push(deliveryFeed);
        print(feedLine(deliveryFeed));
        arrivals.emit('item');
      },
      ended: (reason) => {
        endedBecause = reason;
        arrivals.emit('item');
      },
    },
  );
  return {
    items,
    until: async (holds, { limitMs, signal }) => {
      const limit = AbortSignal.timeout(limitMs);
      const either = AbortSignal.any([limit, signal]);
      while (!holds()) {
        if (endedBecause !== null) throw endedBecause;
        signal.throwIfAborted();
        if (limit.aborted) return false;
        // An abort is seen by the checks above.
        await once(arrivals, 'item', { signal: either }).catch(() => {});
      }
      return true;
    },
    [Symbol.dispose]: end,
  };
}
