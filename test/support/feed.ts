import { randomUUID } from 'node:crypto';
import { idFromUuid } from '../../src/domain/ids.ts';
import type { ProjectId } from '../../src/domain/ids.ts';
import type { FeedEntry, FeedItem, FeedSubscription } from '../../src/feed/feed.ts';

// What the tests of the feed share: entries that carry a label, and reading them.

const webhookId = idFromUuid('webhook', randomUUID());

/** A project that no other test uses. */
export function newProjectId(): ProjectId {
  return idFromUuid('project', randomUUID());
}

/** An entry known by its label. */
export function entryOf(label: string | number): FeedEntry {
  return {
    change: 'WEBHOOK_STATUS_CHANGED',
    at: '2026-01-02T03:04:05.678Z',
    webhookId,
    eventType: String(label),
    delivery: null,
    attempt: null,
  };
}

/** Entries labelled `from` to `to`. */
export function entriesOf(from: number, to: number): FeedEntry[] {
  return Array.from({ length: to - from + 1 }, (_, index) => entryOf(from + index));
}

export function labelOf(item: FeedItem): string | null {
  return item.entry.eventType;
}

/** The next items. Fails when the subscription ends before. */
export async function take(subscription: FeedSubscription, count: number): Promise<FeedItem[]> {
  const items: FeedItem[] = [];
  while (items.length < count) {
    const result = await subscription.next();
    if (result.done === true) throw new Error(`the subscription ended after ${items.length} of ${count} items`);
    items.push(result.value);
  }
  return items;
}

/** The labels of the next items. */
export async function takeLabels(subscription: FeedSubscription, count: number): Promise<(string | null)[]> {
  return (await take(subscription, count)).map(labelOf);
}

/** The labels `from` to `to`. */
export function labels(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, index) => String(from + index));
}

/** A repeatable source of numbers in [0, 1). Source: mulberry32. */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
