import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { rateRequest, takeAtRate } from '../../src/domain/rate.ts';
import type { RateState } from '../../src/domain/rate.ts';
import type { RateLimit } from '../../src/rate-limit/rate-limit.ts';
import { startRedisRateLimit } from '../../src/rate-limit/redis-rate-limit.ts';
import { seededRandom } from '../support/feed.ts';
import { excess, newKey, takeUntil, verySlow } from '../support/rate-limit.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

const limit = { timeout: 10_000, interval: 10 };

let redis: TestRedis;
let errors: unknown[];
const onError = (error: unknown): void => void errors.push(error);

beforeEach(async () => {
  redis = await startTestRedis();
  errors = [];
});
afterEach(async () => await redis[Symbol.asyncDispose]());

/** An instance with the default limits, or with a command limit that only a server that hangs reaches. */
async function start(commandTimeoutMs?: number): Promise<RateLimit> {
  return await startRedisRateLimit({
    url: redis.url,
    onError,
    ...(commandTimeoutMs === undefined ? {} : { commandTimeoutMs }),
  });
}

function connectAdmin(): Redis & AsyncDisposable {
  const admin = new Redis(redis.url);
  return Object.assign(admin, { [Symbol.asyncDispose]: async () => void (await admin.quit()) });
}

async function grantedBy(rateLimit: RateLimit, key: string): Promise<number> {
  return (await rateLimit.take(key, verySlow, 1)).granted;
}

/** Waits until what the first instance takes is missing for the second. */
async function untilShared(one: RateLimit, two: RateLimit): Promise<void> {
  await vi.waitFor(async () => {
    const key = newKey();
    expect([await grantedBy(one, key), await grantedBy(two, key)]).toEqual([1, 0]);
  }, limit);
}

test('the script grants, waits and keeps to the last digit what the arithmetic of the domain does', async () => {
  await using rateLimit = await start(5_000);
  await using admin = connectAdmin();
  const random = seededRandom(20_260_103);
  const key = newKey();
  const rates = [0.07, 1 / 3, 7, 60, 333.3, 2500];
  let state: RateState | null = null;
  let grants = 0;
  for (let turn = 0; turn < 2000; turn += 1) {
    const perSecond = rates[Math.floor(random() * rates.length)] ?? 1;
    const wanted = Math.floor(random() * 4);
    if (random() < 0.05) {
      await admin.del(`posthorn:rate:${key}`);
      state = null;
    }
    const grant = await rateLimit.take(key, perSecond, wanted);
    const stored = await admin.get(`posthorn:rate:${key}`);
    if (stored === null) {
      state = null; // expired, and so worth as much as none
      continue;
    }
    const [atUs, leadUs] = stored.split(' ').map(Number);
    const expected = takeAtRate(state, atUs as number, rateRequest(perSecond, wanted));
    expect({ ...grant, state: { atUs, leadUs } }).toEqual(expected);
    ({ state } = expected);
    grants += grant.granted;
  }
  expect(grants).toBeGreaterThan(100);
  expect(errors).toEqual([]);
});

test('a key lives in Redis for as long as it matters, and is gone by itself', async () => {
  await using rateLimit = await start(5_000);
  await using admin = connectAdmin();
  await rateLimit.take('slow', verySlow, 1);
  const lifeMs = await admin.pttl('posthorn:rate:slow');
  expect(lifeMs).toBeGreaterThan(90_000);
  expect(lifeMs).toBeLessThanOrEqual(100_001);
  for (let n = 0; n < 100; n += 1) await rateLimit.take(`fast ${n}`, 1000, 1);
  await vi.waitFor(async () => expect(await admin.keys('*')).toEqual(['posthorn:rate:slow']), limit);
});

test('while Redis is dead budgets are spent in each instance, what was spent before included', async () => {
  await using limited = await startRedisRateLimit({ url: redis.url, onError });
  const key = newKey();
  const budget = { points: 100, periodMs: 86_400_000 };
  expect(await limited.spend(key, budget, 60)).toMatchObject({ granted: true, remaining: 40 });
  await redis.kill();
  expect(await limited.spend(key, budget, 50)).toMatchObject({ granted: false, remaining: 40 });
  expect(await limited.spend(key, budget, 40)).toMatchObject({ granted: true, remaining: 0 });
});

test('while Redis is dead each instance limits by itself and at once, and shares again when it is back', async () => {
  await using one = await start(5_000);
  await using two = await start(5_000);
  const taken = newKey();
  expect(await grantedBy(one, taken)).toBe(1);
  await redis.kill();
  const startedAtMs = performance.now();
  // What was granted through Redis counts: the fallback of that instance does not begin anew.
  expect(await grantedBy(one, taken)).toBe(0);
  expect(await grantedBy(two, taken)).toBe(1);
  expect(await grantedBy(two, taken)).toBe(0);
  const key = newKey();
  const grants = await takeUntil([one], key, 1000, 1500);
  expect(excess(grants, 1000)).toBeLessThan(1);
  const seconds = (performance.now() - startedAtMs) / 1000;
  expect(errors.length).toBeGreaterThanOrEqual(3); // two instances, and one of them after a second again
  expect(errors.length).toBeLessThanOrEqual(2 * (1 + seconds));
  expect(String(errors[0])).toContain("the rate limit's Redis failed: ");
  await using _restarted = await startTestRedis({ port: redis.port });
  await untilShared(one, two);
});

test('a Redis that hangs holds calls for their limit once, then nobody waits for it until it answers', async () => {
  await using one = await start();
  await using two = await start();
  await using admin = connectAdmin();
  await untilShared(one, two);
  await admin.client('PAUSE', 3000, 'ALL');
  const startedAtMs = performance.now();
  const first = await Promise.all(Array.from({ length: 20 }, async () => await grantedBy(one, 'key')));
  expect(first.filter((granted) => granted === 1)).toHaveLength(1);
  const waitedMs = performance.now() - startedAtMs;
  expect(waitedMs).toBeGreaterThan(200);
  expect(waitedMs).toBeLessThan(1500);
  // 100 calls after each other, which would take 25 seconds if each waited.
  for (let n = 0; n < 100; n += 1) expect(await grantedBy(one, newKey())).toBe(1);
  expect(performance.now() - startedAtMs).toBeLessThan(2800);
  expect(errors).not.toEqual([]);
  await untilShared(one, two);
});

test('a Redis that answers but cannot write is survived like one that is away', async () => {
  await using one = await start(5_000);
  await using two = await start(5_000);
  await using admin = connectAdmin();
  await admin.config('SET', 'maxmemory', '1');
  const key = newKey();
  expect([await grantedBy(one, key), await grantedBy(one, key), await grantedBy(two, key)]).toEqual([1, 0, 1]);
  expect(String(errors[0])).toContain('OOM');
  await admin.config('SET', 'maxmemory', '0');
  await untilShared(one, two);
});

test('a rate limit does not start without its Redis, and says where it looked without the password', async () => {
  await redis.kill();
  const starting = startRedisRateLimit({ url: `redis://:secret@127.0.0.1:${redis.port}`, onError });
  await expect(starting).rejects.toThrow(
    `the rate limit's Redis at 127.0.0.1:${redis.port} cannot be reached: connect ECONNREFUSED 127.0.0.1:${redis.port}`,
  );
});

test('deployments with different prefixes on one Redis do not limit each other', async () => {
  await using one = await start(5_000);
  await using other = await startRedisRateLimit({ url: redis.url, keyPrefix: 'other', onError });
  const key = newKey();
  expect([await grantedBy(one, key), await grantedBy(other, key), await grantedBy(one, key)]).toEqual([1, 1, 0]);
});

test('closing ends within the command limit while Redis hangs, and reports nothing', async () => {
  const rateLimit = await start();
  await using admin = connectAdmin();
  await admin.client('PAUSE', 1500, 'ALL');
  const startedAtMs = performance.now();
  await rateLimit[Symbol.asyncDispose]();
  expect(performance.now() - startedAtMs).toBeLessThan(1000);
  expect(errors).toEqual([]);
});
