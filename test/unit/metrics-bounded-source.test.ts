import { describe, expect, test, vi } from 'vitest';
import { createBoundedSource } from '../../src/metrics/bounded-source.ts';

/** A source on a clock of the test's, whose every asking is answered by the test. */
function createWorld() {
  const asked: PromiseWithResolvers<number>[] = [];
  const errors: unknown[] = [];
  const clock = { ms: 0 };
  const read = createBoundedSource({
    what: 'the number',
    load: async () => {
      const asking = Promise.withResolvers<number>();
      asked.push(asking);
      return await asking.promise;
    },
    freshMs: 100,
    limitMs: 20,
    onError: (error) => errors.push(error),
    nowMs: () => clock.ms,
  });
  return { asked, errors, clock, read };
}

describe('a bounded source', () => {
  test('is asked once however many read it, and again when its answer is no longer fresh', async () => {
    const { asked, clock, read } = createWorld();
    const reads = Promise.all([read(), read(), read()]);
    asked[0]?.resolve(1);
    expect(await reads).toEqual([1, 1, 1]);
    clock.ms = 99;
    expect(await read()).toBe(1);
    expect(asked).toHaveLength(1);
    clock.ms = 100;
    const next = read();
    asked[1]?.resolve(2);
    expect(await next).toBe(2);
  });

  test('that fails gives null and is not asked again until that is no longer fresh', async () => {
    const { asked, clock, errors, read } = createWorld();
    const first = read();
    asked[0]?.reject(new Error('away'));
    expect([await first, await read()]).toEqual([null, null]);
    expect([asked.length, errors.length]).toEqual([1, 1]);
    clock.ms = 100;
    const next = read();
    asked[1]?.resolve(2);
    expect(await next).toBe(2);
  });

  test('that does not answer gives null within the limit, at once to who reads later, and is never asked twice at a time', async () => {
    const { asked, clock, errors, read } = createWorld();
    expect(await read()).toBeNull();
    expect(errors.map(String)).toEqual(['Error: the number did not answer within 20 ms']);
    clock.ms = 1_000_000;
    expect(await read()).toBeNull();
    expect([asked.length, errors.length]).toEqual([1, 1]);
    asked[0]?.resolve(1);
    await vi.waitFor(() => {
      void read();
      expect(asked).toHaveLength(2);
    });
    asked[1]?.resolve(2);
    expect(await read()).toBe(2);
  });
});
