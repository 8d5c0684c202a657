import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createInProcessRateLimit } from '../../src/rate-limit/in-process-rate-limit.ts';
import type { RateLimit, SpendingLimit } from '../../src/rate-limit/rate-limit.ts';
import { startRedisRateLimit } from '../../src/rate-limit/redis-rate-limit.ts';
import { excess, newKey, takeUntil, verySlow } from '../support/rate-limit.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

let redis: TestRedis;
beforeAll(async () => {
  redis = await startTestRedis();
});
afterAll(async () => await redis[Symbol.asyncDispose]());

let unexpected: unknown[] = [];
beforeEach(() => {
  unexpected = [];
});

/** What two workers hold: in one process the same object, on Redis an instance each. */
interface Workers extends AsyncDisposable {
  one: RateLimit & SpendingLimit;
  two: RateLimit & SpendingLimit;
}

const implementations = [
  {
    name: 'in process',
    start: async (): Promise<Workers> => {
      const limit = createInProcessRateLimit();
      return { one: limit, two: limit, [Symbol.asyncDispose]: async () => await limit[Symbol.asyncDispose]() };
    },
  },
  {
    name: 'on Redis',
    start: async (): Promise<Workers> => {
      // A long limit: on a slow machine a call must not be answered by the fallback unnoticed.
      const options = {
        url: redis.url,
        commandTimeoutMs: 5_000,
        onError: (error: unknown) => void unexpected.push(error),
      };
      const one = await startRedisRateLimit(options);
      const two = await startRedisRateLimit(options);
      const dispose = async (): Promise<void> => {
        await one[Symbol.asyncDispose]();
        await two[Symbol.asyncDispose]();
        expect(unexpected).toEqual([]);
      };
      return { one, two, [Symbol.asyncDispose]: dispose };
    },
  },
];

describe.each(implementations)('the rate limit $name', ({ start }) => {
  test('grants what is wanted up to a tenth of a second’s starts, and says when there is one more', async () => {
    await using workers = await start();
    const { one } = workers;
    expect(await one.take(newKey(), 100, 3)).toEqual({ granted: 3, waitMs: 0 });
    expect(await one.take(newKey(), 100, 10)).toEqual({ granted: 10, waitMs: 0 });
    expect(await one.take(newKey(), 100, 11)).toEqual({ granted: 10, waitMs: 10 });
    expect(await one.take(newKey(), 100, 1_000_000)).toEqual({ granted: 10, waitMs: 10 });
  });

  test('grants one start at once at a slow rate, and the wait shrinks as time passes', async () => {
    await using workers = await start();
    const { one } = workers;
    const key = newKey();
    const startedAtMs = performance.now();
    expect(await one.take(key, verySlow, 2)).toEqual({ granted: 1, waitMs: 100_000 });
    const { granted, waitMs } = await one.take(key, verySlow, 1);
    expect(granted).toBe(0);
    expect(waitMs).toBeLessThan(100_000);
    expect(waitMs).toBeGreaterThan(100_000 - (performance.now() - startedAtMs) - 1);
  });

  test('gives waits in fractions of a millisecond', async () => {
    await using workers = await start();
    const { one } = workers;
    expect(await one.take(newKey(), 3, 2)).toEqual({ granted: 1, waitMs: 333.334 });
    expect(await one.take(newKey(), 7000, 10_000)).toEqual({ granted: 700, waitMs: 0.143 });
    expect(await one.take(newKey(), 0.3, 2)).toEqual({ granted: 1, waitMs: 3333.334 });
  });

  test('is one for two workers that take at the same time', async () => {
    await using workers = await start();
    const { one, two } = workers;
    const key = newKey();
    const takes = Array.from({ length: 100 }, async (_, n) => await (n % 2 === 0 ? one : two).take(key, verySlow, 1));
    const granted = (await Promise.all(takes)).map((grant) => grant.granted);
    expect(granted.filter((count) => count === 1)).toHaveLength(1);
    expect(granted.filter((count) => count === 0)).toHaveLength(99);
  });

  test('never grants more in any window than rate and burst allow, however many ask', async () => {
    await using workers = await start();
    const grants = await takeUntil([workers.one, workers.two], newKey(), 1000, 500);
    expect(excess(grants, 1000)).toBeLessThan(1); // a start's worth, 1 ms, for two clocks that are compared
  });

  test('keeps its keys apart', async () => {
    await using workers = await start();
    const { one, two } = workers;
    const keys = ['', ' ', newKey(), newKey(), `${newKey()}:ü{}*`];
    for (const key of keys) expect(await one.take(key, verySlow, 1)).toEqual({ granted: 1, waitMs: 0 });
    for (const key of keys) expect(await two.take(key, verySlow, 1)).toMatchObject({ granted: 0 });
  });

  test('takes a changed rate from the next call on', async () => {
    await using workers = await start();
    const { one, two } = workers;
    const key = newKey();
    expect(await one.take(key, verySlow, 2)).toEqual({ granted: 1, waitMs: 100_000 });
    expect(await two.take(key, 1, 1)).toEqual({ granted: 0, waitMs: 1000 });
    expect(await one.take(key, 100, 1)).toEqual({ granted: 0, waitMs: 10 });
  });

  test('takes nothing when nothing is wanted', async () => {
    await using workers = await start();
    const { one } = workers;
    const key = newKey();
    expect(await one.take(key, verySlow, 0)).toEqual({ granted: 0, waitMs: 0 });
    expect(await one.take(key, verySlow, 1)).toEqual({ granted: 1, waitMs: 0 });
    expect(await one.take(key, verySlow, 0)).toEqual({ granted: 0, waitMs: 0 });
  });

  test('takes the largest and the smallest numbers there are', async () => {
    await using workers = await start();
    const { one } = workers;
    const most = Number.MAX_SAFE_INTEGER;
    expect(await one.take(newKey(), 1e9, most)).toEqual({ granted: 100_000_000, waitMs: 0.001 });
    expect(await one.take(newKey(), Number.MAX_VALUE, most)).toEqual({ granted: most, waitMs: 0 });
    const key = newKey();
    expect(await one.take(key, Number.MIN_VALUE, 2)).toEqual({ granted: 1, waitMs: most / 1000 });
    expect(await one.take(key, Number.MIN_VALUE, 1)).toMatchObject({ granted: 0 });
    expect(await one.take('k'.repeat(100_000), 10, 2)).toEqual({ granted: 1, waitMs: 100 });
  });

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])(
    'refuses a rate of %d by name and takes nothing',
    async (perSecond) => {
      await using workers = await start();
      const { one } = workers;
      const key = newKey();
      await expect(one.take(key, perSecond, 1)).rejects.toThrow(
        new RangeError(`perSecond is ${perSecond}, but must be a finite number above 0`),
      );
      expect(await one.take(key, verySlow, 1)).toEqual({ granted: 1, waitMs: 0 });
    },
  );

  test.each([-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY])('refuses to take %d starts by name', async (wanted) => {
    await using workers = await start();
    await expect(workers.one.take(newKey(), 1, wanted)).rejects.toThrow(
      new RangeError(`wanted is ${wanted}, but must be a whole number from 0`),
    );
  });

  test('spends a budget as a whole or not at all, over all processes, and says what is left', async () => {
    await using workers = await start();
    const { one, two } = workers;
    const key = newKey();
    const budget = { points: 1_000, periodMs: 86_400_000 }; // nothing comes back while the test runs
    const first = await one.spend(key, budget, 600);
    expect(first).toMatchObject({ granted: true, remaining: 400, waitMs: 0, fullMs: 51_840_000 });
    const refused = await two.spend(key, budget, 401);
    expect(refused).toMatchObject({ granted: false, remaining: 400 });
    expect(refused.waitMs).toBeGreaterThan(0);
    expect(refused.waitMs).toBeLessThanOrEqual(86_400);
    expect(await two.spend(key, budget, 400)).toMatchObject({ granted: true, remaining: 0 });
    expect(await one.spend(key, budget, 0)).toMatchObject({ granted: true, remaining: 0 });
    expect(await one.spend(newKey(), budget, 1_000)).toMatchObject({ granted: true, remaining: 0 });
  });

  test('refuses to spend more than a budget has, by name', async () => {
    await using workers = await start();
    await expect(workers.one.spend(newKey(), { points: 5, periodMs: 1_000 }, 6)).rejects.toThrow(
      new RangeError('cost is 6, but must be a whole number from 0 to 5'),
    );
  });

  test('rejects when it is closed, which may be done twice', async () => {
    await using workers = await start();
    await workers.one[Symbol.asyncDispose]();
    await expect(workers.one.take(newKey(), 1, 1)).rejects.toThrow('the rate limit is closed');
    const budget = { points: 1, periodMs: 1 };
    await expect(workers.one.spend(newKey(), budget, 1)).rejects.toThrow('the rate limit is closed');
  });
});
