import { expect, test } from 'vitest';
import { createInProcessRateLimit } from '../../src/rate-limit/in-process-rate-limit.ts';

test('a key that is always asked for gives an even rate: no tenth of a second gets more than twice its share', async () => {
  let nowMs = 5_000.25;
  await using limit = createInProcessRateLimit({ now: () => nowMs });
  const perTenth = new Map<number, number>();
  for (let ms = 0; ms < 10_000; ms += 1) {
    const { granted } = await limit.take('key', 250, 7);
    const tenth = Math.floor(ms / 100);
    perTenth.set(tenth, (perTenth.get(tenth) ?? 0) + granted);
    nowMs += 1;
  }
  const [first, ...others] = perTenth.values();
  expect(first).toBe(49); // the burst of 25 and a tenth of a second's 24 after it
  expect(new Set(others)).toEqual(new Set([25]));
});

test('after exactly the wait that was given a start is granted, and two microseconds before it none is', async () => {
  let nowMs = 123_456.789;
  await using limit = createInProcessRateLimit({ now: () => nowMs });
  for (const perSecond of [0.3, 3, 7, 300, 7000]) {
    const key = String(perSecond);
    for (let turn = 0; turn < 100; turn += 1) {
      const { waitMs } = await limit.take(key, perSecond, 1_000_000);
      expect(waitMs).toBeGreaterThan(0);
      nowMs += waitMs - 0.002;
      expect(await limit.take(key, perSecond, 1)).toMatchObject({ granted: 0 });
      nowMs += 0.002;
      expect(await limit.take(key, perSecond, 1)).toMatchObject({ granted: 1 });
    }
  }
});

test('keys are bounded: what has expired goes first, then what was taken for longest ago', async () => {
  let nowMs = 0;
  await using limit = createInProcessRateLimit({ now: () => nowMs, keysMax: 10 });
  const granted = async (key: string, perSecond: number): Promise<number> =>
    (await limit.take(key, perSecond, 1)).granted;
  for (const key of ['a', 'b', 'c', 'd', 'e']) expect(await granted(key, 0.001)).toBe(1);
  for (const key of ['f', 'g', 'h', 'i', 'j']) expect(await granted(key, 10)).toBe(1);
  nowMs += 100;
  for (const key of ['k', 'l', 'm', 'n', 'o']) expect(await granted(key, 0.001)).toBe(1);
  // Full of keys in use by now: `a` is taken again, so that `b` is the one taken for longest ago.
  expect(await granted('a', 0.001)).toBe(0);
  expect(await granted('p', 0.001)).toBe(1);
  for (const key of ['a', 'c', 'd', 'e', 'k', 'l', 'm', 'n', 'o', 'p']) expect(await granted(key, 0.001)).toBe(0);
  expect(await granted('b', 0.001)).toBe(1);
});
