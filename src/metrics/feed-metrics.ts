import { Counter, Gauge } from 'prom-client';
import { childrenOf } from './children.ts';
import type { Registry } from 'prom-client';
import type { FailureReason } from '../domain/delivery.ts';
import type { Feed, FeedChange, FeedEntry } from '../feed/feed.ts';

/** Counts what is published through a feed. */
export interface FeedMetrics {
  /** The feed, counted. Of several the last one's subscribers are shown. */
  meter(feed: Feed): Feed;
}

type FinishedChange = Extract<FeedChange, 'DELIVERED' | 'FAILED' | 'SKIPPED' | 'CANCELLED'>;

/**
 * Creates the counters of the feed. Every committed change of a delivery is published once, by whoever made it, so the
 * changes are counted here, for all of them, and whether or not the feed could be reached.
 */
export function createFeedMetrics(registry: Registry): FeedMetrics {
  const count = createChangeCounters(registry);
  const published = new Counter({
    name: 'posthorn_feed_items_published_total',
    help: 'Items that the feed has taken.',
    registers: [registry],
  });
  const failures = new Counter({
    name: 'posthorn_feed_publish_failures_total',
    help: 'Calls to publish to the feed that failed; their items are in the lists only.',
    registers: [registry],
  });
  let metered: Feed | null = null;
  addSubscribersGauge(registry, () => metered?.subscriberCount ?? 0);
  return {
    meter(feed) {
      metered = feed;
      return {
        async publish(projectId, entries) {
          for (const entry of entries) count(entry);
          try {
            await feed.publish(projectId, entries);
          } catch (error) {
            failures.inc();
            throw error;
          }
          published.inc(entries.length);
        },
        subscribe: async (projectId, options) => await feed.subscribe(projectId, options),
        get subscriberCount() {
          return feed.subscriberCount;
        },
        ping: async () => await feed.ping(),
        [Symbol.asyncDispose]: async () => await feed[Symbol.asyncDispose](),
      };
    },
  };
}

function createChangeCounters(registry: Registry): (entry: FeedEntry) => void {
  const changes = new Counter({
    name: 'posthorn_delivery_changes_total',
    help: 'Committed changes of deliveries and webhooks by kind, as the feed shows them; RETRY_SCHEDULED is a planned retry.',
    labelNames: ['change'],
    registers: [registry],
  });
  const finished = new Counter({
    name: 'posthorn_deliveries_finished_total',
    help: 'Deliveries that have ended, by status and failure reason; the reason of DELIVERED is NONE.',
    labelNames: ['status', 'reason'],
    registers: [registry],
  });
  const changeChild = childrenOf((change: FeedChange) => changes.labels({ change }));
  const finishedChild = childrenOf((status: FinishedChange) =>
    childrenOf((reason: FailureReason | 'NONE') => finished.labels({ status, reason })),
  );
  finishedChild('DELIVERED')('NONE').inc(0);
  finishedChild('FAILED')('EXHAUSTED').inc(0);
  return ({ change, delivery }) => {
    changeChild(change).inc();
    if (isFinished(change)) finishedChild(change)(delivery?.failureReason ?? 'NONE').inc();
  };
}

function isFinished(change: FeedChange): change is FinishedChange {
  return change === 'DELIVERED' || change === 'FAILED' || change === 'SKIPPED' || change === 'CANCELLED';
}

function addSubscribersGauge(registry: Registry, count: () => number): void {
  const gauge: Gauge = new Gauge({
    name: 'posthorn_feed_subscribers',
    help: 'Subscriptions to the feed that are open in this process.',
    registers: [registry],
    collect: () => gauge.set(count()),
  });
}
