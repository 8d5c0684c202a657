import { describe, expect, test, vi } from 'vitest';
import { InFlightLimit } from '../../worker/in-flight-limit.ts';

async function settled(promise: unknown): Promise<boolean> {
  const open = Symbol('open');
  return (await Promise.race([promise, Promise.resolve(open)])) !== open;
}

describe('the in-flight limit', () => {
  test('who asks for a place while all are taken waits, and is served in turn', async () => {
    using limit = new InFlightLimit(2);
    const [first, second] = [await limit.enter(), await limit.enter()];
    const [third, fourth] = [limit.enter(), limit.enter()];
    expect([await settled(third), await settled(fourth)]).toEqual([false, false]);
    second?.leave();
    expect([await settled(third), await settled(fourth)]).toEqual([true, false]);
    first?.leave();
    expect(await settled(fourth)).toBe(true);
    expect(limit.count).toBe(2);
  });

  test('what takes over from another gets its place at once, however full it is', async () => {
    using limit = new InFlightLimit(1);
    limit.take();
    limit.take();
    expect(limit.count).toBe(2);
    expect(await settled(limit.enter())).toBe(false);
  });

  test('what is under way for more than a second makes room for others, up to four times the limit', async () => {
    vi.useFakeTimers();
    try {
      using limit = new InFlightLimit(2);
      const entered = Array.from({ length: 12 }, () => Promise.resolve(limit.enter()));
      const counts: number[] = [limit.count];
      for (let second = 0; second < 6; second += 1) {
        await vi.advanceTimersByTimeAsync(1_300);
        counts.push(limit.count);
      }
      expect(counts).toEqual([2, 4, 6, 8, 8, 8, 8]);
      for (const place of await Promise.all(entered.slice(0, 8))) place?.leave();
      expect(limit.count).toBe(2);
    } finally {
      vi.useRealTimers();
    }
  });

  test('closing it gives nobody a place any more, and it is idle when the last one has left', async () => {
    const limit = new InFlightLimit(1);
    const place = limit.take();
    const waiting = limit.enter();
    limit[Symbol.dispose]();
    expect(await waiting).toBeNull();
    expect(await limit.enter()).toBeNull();
    const idle = limit.idle();
    expect(await settled(idle)).toBe(false);
    place.leave();
    await idle;
  });
});
