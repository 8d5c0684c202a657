import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Feed, FeedSubscription } from '../../src/feed/feed.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import type { RedisFeedOptions } from '../../src/feed/redis-feed.ts';
import { appendToLog } from '../../src/feed/redis-log.ts';
import { beat } from '../../src/feed/redis-registry.ts';
import { entriesOf, entryOf, labels, newProjectId, take, takeLabels } from '../support/feed.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

// What can be lost between the database and the feed, and what an outage of Redis does to those who publish and read.

const limit = { timeout: 10_000, interval: 10 };
const publisher = fileURLToPath(new URL('../support/feed-publisher-process.ts', import.meta.url));
const registry = 'posthorn:feed:publishers';
const expired = { name: 'FeedError', code: 'CURSOR_EXPIRED' };
const unavailable = { name: 'FeedError', code: 'UNAVAILABLE' };

let redis: TestRedis;
let admin: Redis;

beforeEach(async () => {
  redis = await startTestRedis();
  admin = new Redis(redis.url);
  admin.on('error', () => undefined); // some tests kill its server
});
afterEach(async () => {
  admin.disconnect();
  redis.thaw();
  await redis[Symbol.asyncDispose]();
});

/** A feed whose beats are quick; its readers wait through any outage unless said. */
async function startFeed(settings: Partial<RedisFeedOptions> = {}): Promise<Feed> {
  const quick = { beatMs: 50, lapseMs: 1_500, awayMsMax: 60_000, commandTimeoutMs: 300, ringSize: 50 };
  return await startRedisFeed({ url: redis.url, onError: () => undefined, ...quick, ...settings });
}

async function generation(): Promise<number> {
  return Number(await admin.hget(registry, 'generation'));
}

/** Resolves when everyone registered has beaten again, `ms` of the server's time after now. */
async function untilBeaten(ms: number): Promise<void> {
  const [seconds = 0, microseconds = 0] = (await admin.time()).map(Number);
  const at = seconds * 1_000 + microseconds / 1_000 + ms;
  await vi.waitFor(async () => {
    const { generation: _generation, ...publishers } = await admin.hgetall(registry);
    const beats = Object.values(publishers).map((said) => Number(said.split(' ')[0]));
    expect(beats.length).toBeGreaterThan(0);
    expect(Math.min(...beats)).toBeGreaterThan(at);
  }, limit);
}

/** Starts a process that publishes, and gives what kills it. */
async function startPublisher(): Promise<() => Promise<void>> {
  const child = spawn(process.execPath, [publisher, redis.url], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return async () => {
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
}

/** Begins to read to the end, with whatever comes before it, and gives what it ended with. */
async function endOf(subscription: FeedSubscription): Promise<unknown> {
  try {
    for await (const _item of subscription);
    return null;
  } catch (error) {
    return error;
  }
}

/** Has Redis take nothing more, and gives what has it take things again. What is frozen may take things later; what is full does not. */
async function refuse(how: 'frozen' | 'full'): Promise<() => Promise<void>> {
  if (how === 'full') {
    await admin.config('SET', 'maxmemory', '1');
    return async () => void (await admin.config('SET', 'maxmemory', '0'));
  }
  redis.freeze();
  return async () => redis.thaw();
}

describe('what may be lost is told', () => {
  test.each(['frozen', 'full'] as const)(
    'a publish that failed with Redis %s expires the cursors of every project in every process',
    async (how) => {
      await using publishing = await startFeed();
      await using reading = await startFeed();
      const [projectId, quietId] = [newProjectId(), newProjectId()];
      const reader = await reading.subscribe(projectId);
      const quiet = await reading.subscribe(quietId);
      await publishing.publish(projectId, entriesOf(1, 2));
      const [item] = await take(reader, 2);
      const ends = [endOf(reader), endOf(quiet)];
      const accept = await refuse(how);
      await expect(publishing.publish(projectId, [entryOf('lost')])).rejects.toThrow('could not publish');
      await accept();
      expect(await Promise.all(ends)).toMatchObject([expired, expired]);
      const after = item?.cursor ?? null;
      await expect(reading.subscribe(projectId, { after })).rejects.toMatchObject(expired);
      const fresh = await reading.subscribe(projectId);
      await vi.waitFor(async () => await publishing.publish(projectId, [entryOf('next')]), limit);
      expect(await takeLabels(fresh, 1)).toEqual(['next']);
    },
  );

  test('a publisher that is killed expires the cursors', async () => {
    await using reading = await startFeed();
    const kill = await startPublisher();
    const end = endOf(await reading.subscribe(newProjectId()));
    const before = await generation();
    await untilBeaten(0);
    expect(await generation()).toBe(before);
    await kill();
    expect(await end).toMatchObject(expired);
    expect(await generation()).toBeGreaterThan(before);
  });

  test('a publisher that starts alone after one was killed expires the cursors', async () => {
    const projectId = newProjectId();
    const kill = await startPublisher();
    const cursor = await (async () => {
      await using feed = await startFeed();
      return (await feed.subscribe(projectId)).cursor;
    })();
    await kill();
    await using feed = await startFeed();
    await vi.waitFor(
      async () => await expect(feed.subscribe(projectId, { after: cursor })).rejects.toMatchObject(expired),
      limit,
    );
  });

  test('a publisher that is stopped with a loss that it could not tell leaves that to the others', async () => {
    await using reading = await startFeed();
    const projectId = newProjectId();
    const publishing = await startFeed();
    const end = endOf(await reading.subscribe(projectId));
    const accept = await refuse('full');
    await expect(publishing.publish(projectId, [entryOf('lost')])).rejects.toThrow('could not publish');
    await publishing[Symbol.asyncDispose]();
    expect(await admin.hlen(registry)).toBe(3); // with the generation
    await accept();
    expect(await end).toMatchObject(expired);
    expect(await admin.hlen(registry)).toBe(2);
  });

  test('a publish that follows another one, and comes when its feed is being stopped, expires the cursors', async () => {
    await using reading = await startFeed();
    const projectId = newProjectId();
    const end = endOf(await reading.subscribe(projectId));
    const stopping = await startFeed();
    const late = stopping
      .publish(projectId, [entryOf(1)])
      .then(async () => await stopping.publish(projectId, [entryOf('lost')]));
    const [outcome] = await Promise.allSettled([late, stopping[Symbol.asyncDispose]()]);
    expect(outcome).toMatchObject({ status: 'rejected', reason: { message: 'the feed is closed' } });
    expect(await end).toMatchObject(expired);
  });

  test('an emptied Redis begins one generation for all, later than any before, and readers of quiet projects are told', async () => {
    await using one = await startFeed();
    await using two = await startFeed();
    const ends = [endOf(await one.subscribe(newProjectId())), endOf(await two.subscribe(newProjectId()))];
    const before = await generation();
    await admin.flushall();
    expect(await Promise.all(ends)).toMatchObject([expired, expired]);
    const begun = await generation();
    expect(begun).toBeGreaterThan(before);
    await untilBeaten(200);
    expect(await generation()).toBe(begun);
  });

  test('a loss is told once, however often its beat is sent', async () => {
    await using _feed = await startFeed();
    const settings = { keyPrefix: 'posthorn:feed', lapseMs: 60_000, idleMs: 60_000 };
    const said = { publisherId: 'one', generation: 0, lossCount: 0, toldCount: 0 };
    const first = await beat(admin, settings, said);
    const second = await beat(admin, settings, { ...said, lossCount: 1 });
    expect(second).toBeGreaterThan(first);
    expect(await beat(admin, settings, { ...said, lossCount: 1 })).toBe(second);
    expect(await beat(admin, settings, { ...said, lossCount: 2, toldCount: 1 })).toBeGreaterThan(second);
  });

  test('a command that a dead connection still brings appends nothing behind the loss that was told', async () => {
    await using feed = await startFeed();
    const projectId = newProjectId();
    const before = await generation();
    const log = { keyPrefix: 'posthorn:feed', logLength: 100, idleMs: 60_000, generation: () => before };
    const waiting = (await feed.subscribe(projectId)).next();
    feed.expireCursors();
    await expect(waiting).rejects.toMatchObject(expired);
    const fresh = await feed.subscribe(projectId);
    expect(await appendToLog(admin, log, projectId, [JSON.stringify(entryOf('late'))])).toBeGreaterThan(before);
    await feed.publish(projectId, [entryOf('next')]);
    expect(await takeLabels(fresh, 1)).toEqual(['next']);
  });

  test('a publisher that has not heard of a generation publishes under it all the same', async () => {
    await using feed = await startFeed();
    const projectId = newProjectId();
    const later = (await generation()) + 1_000_000;
    const log = { keyPrefix: 'posthorn:feed', logLength: 100, idleMs: 60_000, generation: () => later };
    expect(await appendToLog(admin, log, projectId, [JSON.stringify(entryOf(1))])).toBe(null);
    const reader = await feed.subscribe(projectId);
    await feed.publish(projectId, entriesOf(2, 3));
    expect(await takeLabels(reader, 2)).toEqual(['2', '3']);
  });
});

describe('what loses nothing expires nothing', () => {
  test('publishers that come and go cleanly, with publishes under way when they are stopped', async () => {
    await using reading = await startFeed();
    const projectId = newProjectId();
    const reader = await reading.subscribe(projectId);
    const before = await generation();
    for (let life = 0; life < 5; life += 1) {
      const feed = await startFeed();
      const publishing = feed.publish(projectId, entriesOf(life * 1_500 + 1, (life + 1) * 1_500));
      await feed[Symbol.asyncDispose]();
      await publishing;
    }
    expect(await takeLabels(reader, 7_500)).toEqual(labels(1, 7_500));
    await untilBeaten(2_000); // longer than a publisher that did not leave takes to lapse
    expect(await generation()).toBe(before);
    expect(await admin.hlen(registry)).toBe(2);
    await reading.publish(projectId, [entryOf('last')]);
    expect(await takeLabels(reader, 1)).toEqual(['last']);
  });

  test('an outage without a publish', async () => {
    await using feed = await startFeed();
    const projectId = newProjectId();
    const reader = await feed.subscribe(projectId);
    const before = await generation();
    redis.freeze();
    await expect(feed.ping()).rejects.toBeInstanceOf(Error);
    redis.thaw();
    await vi.waitFor(async () => await feed.publish(projectId, [entryOf('next')]), limit);
    expect(await takeLabels(reader, 1)).toEqual(['next']);
    expect(await generation()).toBe(before);
  });
});

describe('while Redis is away', () => {
  test.each(['killed', 'frozen'] as const)(
    'publishing to one that was %s fails at once after the first limit',
    async (how) => {
      await using feed = await startFeed();
      const projectId = newProjectId();
      if (how === 'killed') await redis.kill();
      else redis.freeze();
      const startedAtMs = performance.now();
      const first = Array.from({ length: 200 }, async () => await feed.publish(projectId, [entryOf('lost')]));
      for (const publish of first) await expect(publish).rejects.toThrow('could not publish');
      const knownAtMs = performance.now();
      expect(knownAtMs - startedAtMs).toBeLessThan(1_000);
      for (let count = 0; count < 200; count += 1) {
        await expect(feed.publish(projectId, [entryOf('lost')])).rejects.toThrow('does not answer');
      }
      expect(performance.now() - knownAtMs).toBeLessThan(300); // the limit of a single one
      redis.thaw();
    },
  );

  test('readers are told after some time, who subscribes too, and a cursor is good afterwards', async () => {
    await using feed = await startFeed({ awayMsMax: 200 });
    const projectId = newProjectId();
    const reader = await feed.subscribe(projectId);
    const inLog = await feed.subscribe(projectId);
    await feed.publish(projectId, entriesOf(1, 200));
    const [item] = (await take(reader, 200)).slice(-1);
    const waiting = reader.next();
    redis.freeze();
    await expect(feed.subscribe(newProjectId())).rejects.toMatchObject(unavailable);
    await expect(waiting).rejects.toMatchObject(unavailable);
    await expect(take(inLog, 200)).rejects.toMatchObject(unavailable);
    const askedAtMs = performance.now();
    await expect(feed.subscribe(projectId)).rejects.toMatchObject(unavailable);
    expect(performance.now() - askedAtMs).toBeLessThan(100);
    redis.thaw();
    const resumed = await vi.waitFor(
      async () => await feed.subscribe(projectId, { after: item?.cursor ?? null }),
      limit,
    );
    await feed.publish(projectId, [entryOf(201)]);
    expect(await takeLabels(resumed, 1)).toEqual(['201']);
  });
});
