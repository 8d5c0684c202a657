import { describe, expect, test } from 'vitest';
import { coalesce } from '../../src/coalesce.ts';

describe('coalesce', () => {
  test('calls made together share one flush, and each gets its own output', async () => {
    const batches: number[][] = [];
    const double = coalesce(async (inputs: number[]) => {
      batches.push(inputs);
      return inputs.map((input) => input * 2);
    });
    expect(await Promise.all([1, 2, 3].map(double))).toEqual([2, 4, 6]);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  test('one flush is in flight; what comes meanwhile makes the next batch', async () => {
    const gates: PromiseWithResolvers<null>[] = [];
    const sizes: number[] = [];
    const entered: PromiseWithResolvers<null>[] = [Promise.withResolvers(), Promise.withResolvers()];
    const call = coalesce(async (inputs: number[]) => {
      const gate = Promise.withResolvers<null>();
      sizes.push(inputs.length);
      gates.push(gate);
      entered[sizes.length - 1]?.resolve(null);
      await gate.promise;
      return inputs;
    });
    const first = call(1);
    await entered[0]?.promise;
    const later = [2, 3, 4].map(call);
    expect(sizes).toEqual([1]);
    gates[0]?.resolve(null);
    await entered[1]?.promise;
    gates[1]?.resolve(null);
    expect(await Promise.all([first, ...later])).toEqual([1, 2, 3, 4]);
    expect(sizes).toEqual([1, 3]);
  });

  test('a flush that fails rejects its own callers, and the next batch goes on', async () => {
    let flushCount = 0;
    const call = coalesce(async (inputs: number[]) => {
      flushCount += 1;
      if (flushCount === 1) throw new Error('the database is gone');
      return inputs;
    });
    const failed = await Promise.allSettled([call(1), call(2)]);
    expect(failed.map((end) => end.status)).toEqual(['rejected', 'rejected']);
    expect(await call(3)).toBe(3);
  });

  test('a batch holds no more than its maximum', async () => {
    const sizes: number[] = [];
    const call = coalesce(async (inputs: number[]) => {
      sizes.push(inputs.length);
      return inputs;
    }, 10);
    await Promise.all(Array.from({ length: 25 }, async (_, index) => await call(index)));
    expect(sizes).toEqual([10, 10, 5]);
  });

  test('a flush that gives too few outputs rejects instead of leaving a caller waiting', async () => {
    const call = coalesce(async (inputs: number[]) => inputs.slice(1));
    await expect(call(1)).rejects.toThrow('1 inputs gave 0 outputs');
  });
});
