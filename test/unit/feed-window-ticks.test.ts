import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Feed, FeedChange, FeedEntry, FeedSubscription } from '../../src/feed/feed.ts';
import { createWindowCounter } from '../../src/feed/feed-window.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { subscribeToTicks, type TickOptions } from '../../src/feed/window-ticks.ts';
import { newId } from '../../src/store/new-id.ts';
import type { WebhookId } from '../../src/domain/ids.ts';

const projectId = newId('project');
const webhookId = newId('webhook');

function entryOf(change: FeedChange, durationMs: number | null = null, of: WebhookId = webhookId): FeedEntry {
  const attempt = {
    id: newId('attempt'),
    number: 1,
    outcome: change === 'DELIVERED' ? ('SUCCEEDED' as const) : ('FAILED' as const),
    trigger: 'AUTOMATIC' as const,
    startedAt: '2026-01-01T00:00:00.000Z',
    dnsMs: null,
    connectMs: null,
    tlsMs: null,
    firstByteMs: null,
    responseStatus: null,
    errorCode: null,
    errorMessage: null,
  };
  return {
    change,
    at: '2026-01-01T00:00:00.000Z',
    webhookId: of,
    eventType: 'config.deployed',
    delivery: null,
    attempt: durationMs === null ? null : { ...attempt, durationMs },
  };
}

describe('a window', () => {
  test('counts changes, attempts by outcome, and percentiles as Postgres does', () => {
    const counter = createWindowCounter(null);
    for (let ms = 1; ms <= 100; ms += 1) counter.add(entryOf(ms <= 90 ? 'DELIVERED' : 'RETRY_SCHEDULED', ms));
    counter.add(entryOf('CREATED'));
    const at = new Date();
    const window = counter.turn(at);
    expect(window).toMatchObject({
      at,
      changes: { CREATED: 1, DELIVERED: 90, RETRY_SCHEDULED: 10, FAILED: 0 },
      succeededCount: 90,
      failedCount: 10,
      latency: { p50Ms: 50, p95Ms: 95, p99Ms: 99 },
      complete: true,
    });
    expect(counter.turn(at)).toMatchObject({ succeededCount: 0, latency: null, changes: { DELIVERED: 0 } });
  });

  test('counts only what concerns its webhooks', () => {
    const other = newId('webhook');
    const counter = createWindowCounter(new Set([other]));
    counter.add(entryOf('DELIVERED', 5));
    counter.add(entryOf('DELIVERED', 7, other));
    expect(counter.turn(new Date())).toMatchObject({ changes: { DELIVERED: 1 }, latency: { p50Ms: 7 } });
  });

  test('is not complete from an interruption until the first window that begins after it', () => {
    const counter = createWindowCounter(null);
    counter.interrupt();
    const during = [counter.turn(new Date()), counter.turn(new Date())];
    counter.resume();
    const after = [counter.turn(new Date()), counter.turn(new Date())];
    expect([...during, ...after].map(({ complete }) => complete)).toEqual([false, false, false, true]);
  });
});

describe('ticks', () => {
  let feed: Feed;
  let subscribe: ReturnType<typeof vi.fn<Feed['subscribe']>>;
  const warnings: string[] = [];
  const options = (everyMs = 1_000): TickOptions => ({
    webhookIds: null,
    everyMs,
    onWarning: (message) => void warnings.push(message),
  });

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
    const inner = createInProcessFeed();
    subscribe = vi.fn<Feed['subscribe']>(async (...args) => await inner.subscribe(...args));
    feed = {
      subscribe,
      expireCursors: () => {},
      subscriberCount: 0,
      publish: async (...args) => await inner.publish(...args),
      ping: async () => await inner.ping(),
      [Symbol.asyncDispose]: async () => await inner[Symbol.asyncDispose](),
    };
    warnings.length = 0;
  });
  afterEach(() => void vi.useRealTimers());

  /** Publishes, and waits until a reader that joined before has been given it. */
  async function publish(...entries: FeedEntry[]): Promise<void> {
    const reader = await feed.subscribe(projectId);
    await feed.publish(projectId, entries);
    for (const _entry of entries) await reader.next();
    await reader.return?.();
    await new Promise((resolve) => setImmediate(resolve));
  }

  test('give each reader every window in turn, quiet ones too', async () => {
    const ticks = await subscribeToTicks(feed, projectId, options());
    await publish(entryOf('DELIVERED', 12));
    vi.advanceTimersByTime(1_000);
    expect((await ticks.next()).value).toMatchObject({ changes: { DELIVERED: 1 }, latency: { p99Ms: 12 } });
    vi.advanceTimersByTime(1_000);
    expect((await ticks.next()).value).toMatchObject({ changes: { DELIVERED: 0 }, latency: null, complete: true });
    await ticks.return?.();
  });

  test('of the same are counted once, however many watch, and of anything else apart', async () => {
    const readers = await Promise.all(
      Array.from({ length: 10 }, async () => await subscribeToTicks(feed, projectId, options())),
    );
    expect(subscribe).toHaveBeenCalledTimes(1);
    expect(vi.getTimerCount()).toBe(1);
    const slower = await subscribeToTicks(feed, projectId, options(2_000));
    const others = await subscribeToTicks(feed, newId('project'), options());
    expect(subscribe).toHaveBeenCalledTimes(3);
    vi.advanceTimersByTime(1_000);
    const windows = await Promise.all(readers.map(async (reader) => (await reader.next()).value));
    expect(new Set(windows).size).toBe(1);
    for (const reader of [...readers, slower, others]) await reader.return?.();
  });

  test('stop with their last reader, and leave no timer', async () => {
    const [first, second] = [
      await subscribeToTicks(feed, projectId, options()),
      await subscribeToTicks(feed, projectId, options()),
    ];
    await first.return?.();
    expect(vi.getTimerCount()).toBe(1);
    const waiting = second.next();
    await second.return?.();
    expect((await waiting).done).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
    const [{ value: source } = { value: undefined }] = subscribe.mock.settledResults;
    expect(await (source as FeedSubscription).next()).toMatchObject({ done: true });
    const again = await subscribeToTicks(feed, projectId, options());
    expect(subscribe).toHaveBeenCalledTimes(2);
    await again.return?.();
  });

  test('give a slow reader the newest window, and keep no more than that for it', async () => {
    const ticks = await subscribeToTicks(feed, projectId, options());
    vi.advanceTimersByTime(10_000);
    await publish(entryOf('FAILED', 3));
    vi.advanceTimersByTime(1_000);
    expect((await ticks.next()).value).toMatchObject({ changes: { FAILED: 1 } });
    const waiting = ticks.next();
    vi.advanceTimersByTime(1_000);
    expect((await waiting).value).toMatchObject({ changes: { FAILED: 0 } });
    await ticks.return?.();
  });

  test('go on when the feed fails, say so once, and are complete again once it is back', async () => {
    const broken = Promise.withResolvers<never>();
    const failing: FeedSubscription = {
      cursor: '0000000000000000-0',
      ended: false,
      peek: () => [],
      skip: () => undefined,
      onceChanged: () => () => undefined,
      next: async () => await broken.promise,
      return: async () => ({ done: true, value: undefined }),
      [Symbol.asyncIterator]() {
        return this;
      },
    };
    subscribe.mockResolvedValueOnce(failing);
    const ticks = await subscribeToTicks(feed, projectId, options());
    subscribe.mockRejectedValueOnce(new Error('the feed is still down'));
    broken.reject(new Error('the feed is down'));
    await vi.waitFor(() => expect(warnings).toHaveLength(1));
    vi.advanceTimersByTime(1_000);
    expect((await ticks.next()).value).toMatchObject({ complete: false });
    await vi.waitFor(() => expect(subscribe).toHaveBeenCalledTimes(3), { timeout: 5_000 });
    expect(warnings).toHaveLength(1);
    await publish(entryOf('DELIVERED', 1));
    vi.advanceTimersByTime(1_000);
    await ticks.next();
    await publish(entryOf('DELIVERED', 1));
    vi.advanceTimersByTime(1_000);
    expect((await ticks.next()).value).toMatchObject({ complete: true, changes: { DELIVERED: 1 } });
    await ticks.return?.();
  });

  test('refuse to start on a feed that cannot be read, and can be asked for again', async () => {
    subscribe.mockRejectedValueOnce(new Error('no feed'));
    await expect(subscribeToTicks(feed, projectId, options())).rejects.toThrow('no feed');
    expect(vi.getTimerCount()).toBe(0);
    const ticks = await subscribeToTicks(feed, projectId, options());
    await ticks.return?.();
  });

  test('end when the feed is closed', async () => {
    const ticks = await subscribeToTicks(feed, projectId, options());
    const waiting = ticks.next();
    await feed[Symbol.asyncDispose]();
    expect((await waiting).done).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });
});
