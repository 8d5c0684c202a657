import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { ProjectId } from '../../src/domain/ids.ts';
import type { Feed, FeedSubscription } from '../../src/feed/feed.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import { entriesOf, entryOf, labelOf, labels, newProjectId, seededRandom, take, takeLabels } from '../support/feed.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

const limit = { timeout: 15_000, interval: 10 };

let redis: TestRedis;
let errors: unknown[];
const onError = (error: unknown): void => void errors.push(error);

beforeEach(async () => {
  redis = await startTestRedis();
  errors = [];
});
afterEach(async () => await redis[Symbol.asyncDispose]());

async function startFeed(settings: { logLength?: number; commandTimeoutMs?: number } = {}): Promise<Feed> {
  return await startRedisFeed({ url: redis.url, ringSize: 50, onError, ...settings });
}

function connectAdmin(): Redis & AsyncDisposable {
  const admin = new Redis(redis.url);
  return Object.assign(admin, { [Symbol.asyncDispose]: async () => void (await admin.quit()) });
}

async function msUntilRejected(promise: Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await expect(promise).rejects.toBeInstanceOf(Error);
  return performance.now() - startedAt;
}

/** Reads until `last` is read, leaving and resuming at random; gives every label in the order it came. */
async function readWithBreaks(feeds: readonly Feed[], projectId: ProjectId, last: number, random: () => number) {
  const read: (string | null)[] = [];
  let feed = feeds[Math.floor(random() * feeds.length)];
  let after: string | null = null;
  let subscription = await feed?.subscribe(projectId);
  const go = async (): Promise<void> => {
    while (read.length < last) {
      const items = await take(
        subscription as FeedSubscription,
        Math.min(1 + Math.floor(random() * 200), last - read.length),
      );
      read.push(...items.map(labelOf));
      after = items.at(-1)?.cursor ?? after;
      await subscription?.return?.();
      feed = feeds[Math.floor(random() * feeds.length)];
      subscription = await feed?.subscribe(projectId, { after });
    }
    await subscription?.return?.();
  };
  return { go, read };
}

test('no item is lost or doubled while pub/sub connections are killed and readers come and go on two instances', async () => {
  await using one = await startFeed();
  await using two = await startFeed();
  await using admin = connectAdmin();
  const random = seededRandom(20_260_102);
  const projectIds = [newProjectId(), newProjectId()];
  const last = 1500;
  const readers = await Promise.all(
    Array.from(
      { length: 10 },
      async (_, index) => await readWithBreaks([one, two], projectIds[index % 2] as ProjectId, last, random),
    ),
  );
  const reading = Promise.all(readers.map(async (reader) => await reader.go()));
  let kills = 0;
  for (let n = 1; n <= last; n += 5) {
    const publisher = random() < 0.5 ? one : two;
    await Promise.all(projectIds.map(async (projectId) => await publisher.publish(projectId, entriesOf(n, n + 4))));
    if (n % 100 === 1) kills += Number(await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
    // Keeps the publishing so near to the reading that kills hit readers that live from memory as well as from the log; not
    // nearer than one take is long, or all readers could wait for what is not published while they do.
    await vi.waitFor(() => expect(readers.some(({ read }) => read.length >= n - 205)).toBe(true), limit);
  }
  await reading;
  for (const { read } of readers) expect(read).toEqual(labels(1, last));
  expect(kills).toBeGreaterThanOrEqual(10);
});

test('an item announced while the connection was down reaches a waiting reader without another publish', async () => {
  await using feed = await startFeed();
  await using admin = connectAdmin();
  const projectId = newProjectId();
  const subscription = await feed.subscribe(projectId);
  const waiting = subscription.next();
  await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
  await feed.publish(projectId, [entryOf('missed')]);
  expect((await waiting).value).toMatchObject({ entry: entryOf('missed') });
});

test('readers of a flushed Redis get CURSOR_EXPIRED, and new subscriptions work', async () => {
  await using feed = await startFeed();
  await using admin = connectAdmin();
  const projectId = newProjectId();
  const live = await feed.subscribe(projectId);
  await feed.publish(projectId, entriesOf(1, 100));
  const [item] = await take(live, 1);
  await take(live, 99);
  const waiting = live.next();
  await admin.flushall();
  await feed.publish(projectId, entriesOf(101, 300));
  await expect(waiting).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
  await expect(feed.subscribe(projectId, { after: item?.cursor ?? null })).rejects.toMatchObject({
    code: 'CURSOR_EXPIRED',
  });
  const fresh = await feed.subscribe(projectId);
  await feed.publish(projectId, [entryOf(301)]);
  expect(await takeLabels(fresh, 1)).toEqual(['301']);
});

test.each(['meta', 'log'])('a feed whose %s key was evicted starts a new epoch', async (key) => {
  await using feed = await startFeed();
  await using admin = connectAdmin();
  const projectId = newProjectId();
  const subscription = await feed.subscribe(projectId);
  await feed.publish(projectId, [entryOf(1)]);
  const [item] = await take(subscription, 1);
  const [name = ''] = await admin.keys(`*${projectId}*:${key}`);
  expect(await admin.del(name)).toBe(1);
  await feed.publish(projectId, [entryOf(2)]);
  await expect(subscription.next()).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
  await expect(feed.subscribe(projectId, { after: item?.cursor ?? null })).rejects.toMatchObject({
    code: 'CURSOR_EXPIRED',
  });
});

test('while Redis is dead publish and ping reject within their limit, and all works again when it is back', async () => {
  await using feed = await startFeed();
  const projectId = newProjectId();
  const subscription = await feed.subscribe(projectId);
  const waiting = subscription.next();
  await redis.kill();
  const calls = [feed.publish(projectId, [entryOf(1)]), feed.ping(), feed.subscribe(newProjectId())];
  expect(Math.max(...(await Promise.all(calls.map(msUntilRejected))))).toBeLessThan(2500);
  expect(errors.length).toBeGreaterThan(0);
  await using _again = await startTestRedis({ port: redis.port });
  await vi.waitFor(async () => await feed.ping(), limit);
  await expect(waiting).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
  const fresh = await feed.subscribe(projectId);
  await feed.publish(projectId, [entryOf(2)]);
  expect(await takeLabels(fresh, 1)).toEqual(['2']);
});

test('a reader in the middle of the log waits through an outage and ends quietly when it is left', async () => {
  await using feed = await startFeed();
  const projectId = newProjectId();
  const subscription = await feed.subscribe(projectId);
  await feed.publish(projectId, entriesOf(1, 500)); // past the ring: the reader needs the log
  await take(subscription, 1);
  await vi.waitFor(async () => await feed.ping(), limit);
  await redis.kill();
  await take(subscription, 99); // its page
  const waiting = subscription.next();
  await vi.waitFor(() => expect(errors.length).toBeGreaterThan(2), limit);
  await subscription.return?.();
  expect(await waiting).toEqual({ done: true, value: undefined });
});

test('a Redis restored from an old snapshot, which counts its numbers again, expires the cursors', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'posthorn-redis-'));
  await using files = new AsyncDisposableStack();
  files.defer(async () => await rm(directory, { recursive: true }));
  await using first = await startTestRedis({ directory });
  await using feed = await startRedisFeed({ url: first.url, onError });
  const projectId = newProjectId();
  const subscription = await feed.subscribe(projectId);
  await feed.publish(projectId, entriesOf(1, 10));
  await using admin = new AsyncDisposableStack();
  const client = admin.adopt(new Redis(first.url), async (opened) => opened.disconnect());
  client.on('error', onError);
  await client.save();
  await feed.publish(projectId, entriesOf(11, 20));
  const [item] = (await take(subscription, 12)).slice(-1);
  await first.kill();
  await using _restored = await startTestRedis({ directory, port: first.port });
  await vi.waitFor(async () => await feed.publish(projectId, entriesOf(21, 30)), limit);
  await expect(feed.subscribe(projectId, { after: item?.cursor ?? null })).rejects.toMatchObject({
    code: 'CURSOR_EXPIRED',
  });
  await expect(take(subscription, 20)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
});

test('publish and ping reject within their limit when Redis hangs', async () => {
  await using feed = await startFeed({ commandTimeoutMs: 300 });
  await using admin = connectAdmin();
  await admin.client('PAUSE', 1500, 'ALL');
  const calls = [feed.publish(newProjectId(), [entryOf(1)]), feed.ping()];
  expect(Math.max(...(await Promise.all(calls.map(msUntilRejected))))).toBeLessThan(1000);
});

test('a feed does not start without its Redis, and says where it looked without the password', async () => {
  await redis.kill();
  const starting = startRedisFeed({ url: `redis://:secret@127.0.0.1:${redis.port}`, onError });
  await expect(starting).rejects.toThrow(
    `the feed's Redis at 127.0.0.1:${redis.port} cannot be reached: connect ECONNREFUSED 127.0.0.1:${redis.port}`,
  );
});

test('the channel of a project is left with the last reader', async () => {
  await using feed = await startFeed();
  await using admin = connectAdmin();
  const projectId = newProjectId();
  const readers = [await feed.subscribe(projectId), await feed.subscribe(projectId)];
  expect(await admin.pubsub('CHANNELS', '*:live')).toHaveLength(1);
  await readers[0]?.return?.();
  expect(await admin.pubsub('CHANNELS', '*:live')).toHaveLength(1);
  await readers[1]?.return?.();
  await feed.subscribe(projectId, { signal: AbortSignal.abort() });
  await expect(feed.subscribe(projectId, { after: '0123456789abcdef-1' })).rejects.toThrow('no longer keeps');
  await vi.waitFor(async () => expect(await admin.pubsub('CHANNELS', '*:live')).toEqual([]), limit);
});

test('the log of a project is bounded and expires when nobody uses it', async () => {
  await using feed = await startFeed({ logLength: 100 });
  await using admin = connectAdmin();
  const projectId = newProjectId();
  for (let n = 1; n <= 2000; n += 100) await feed.publish(projectId, entriesOf(n, n + 99));
  const keys = await admin.keys('*');
  expect(new Set(keys.map((key) => key.split(':').at(-1)))).toEqual(new Set(['log', 'meta', 'publishers']));
  for (const key of keys) expect(await admin.pttl(key)).toBeGreaterThan(0);
  expect(await admin.xlen(`posthorn:feed:{${projectId}}:log`)).toBeLessThan(300);
});

test('a foreign message on the channel is reported and harms nobody', async () => {
  await using feed = await startFeed();
  await using admin = connectAdmin();
  const projectId = newProjectId();
  const subscription = await feed.subscribe(projectId);
  for (const message of ['', '{}', '["x",1,[]]', '[1,2,3]'])
    await admin.publish(`posthorn:feed:{${projectId}}:live`, message);
  await feed.publish(projectId, [entryOf(1)]);
  expect(await takeLabels(subscription, 1)).toEqual(['1']);
  expect(errors).toHaveLength(3);
});
