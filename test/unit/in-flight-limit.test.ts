import { describe, expect, test } from 'vitest';
import { createInFlightLimit } from '../../worker/in-flight-limit.ts';

describe('the in-flight limit', () => {
  test('work waits while the limit is reached, and starts in the order in which it came', async () => {
    const limit = createInFlightLimit(2);
    const gates = Array.from({ length: 4 }, () => Promise.withResolvers<null>());
    const started: number[] = [];
    const runs = gates.map(async (gate, index) => {
      await limit.run(async () => {
        started.push(index);
        await gate.promise;
      });
    });
    await Promise.resolve();
    expect(started).toEqual([0, 1]);
    gates[1]?.resolve(null);
    await runs[1];
    expect(started).toEqual([0, 1, 2]);
    for (const gate of gates) gate.resolve(null);
    await Promise.all(runs);
    expect(started).toEqual([0, 1, 2, 3]);
    expect(limit.count()).toBe(0);
  });

  test('work that throws gives its room back', async () => {
    const limit = createInFlightLimit(1);
    await expect(
      limit.run(async () => {
        throw new Error('broken');
      }),
    ).rejects.toThrow('broken');
    expect(limit.count()).toBe(0);
  });
});
