import { expect, test, vi } from 'vitest';
import { SharedCache } from '../../src/gateway/shared-cache.ts';

const kept = (cache: SharedCache<string>, keys: string): string =>
  keys
    .split('')
    .filter((key) => cache.find(key) !== undefined)
    .join('');

function createCache(bytesMax: number, ageMsMax = 60_000): SharedCache<string> {
  return new SharedCache({ bytesMax, ageMsMax, bytesOf: (value) => value.length });
}

test('what was asked for longest ago goes when there is no room', () => {
  const cache = createCache(3 * 1_256);
  for (const key of ['a', 'b', 'c']) cache.keep(key, 'x'.repeat(1_000));
  expect(cache.find('a')).toBeDefined();
  cache.keep('d', 'x'.repeat(1_000));
  expect(kept(cache, 'abcd')).toBe('acd');
  cache.forget('c');
  cache.forget('c');
  cache.keep('e', 'x'.repeat(1_000));
  expect(kept(cache, 'acde')).toBe('ade');
});

test('what is being made is shared, counts when it is there, and is forgotten when it fails', async () => {
  const cache = createCache(2_000);
  const made = cache.keep('a', Promise.resolve('x'.repeat(1_500)));
  expect(cache.find('a')).toBe(made);
  cache.keep('b', 'x'.repeat(100));
  await made;
  await Promise.resolve();
  expect(kept(cache, 'ab')).toBe('a');
  const failed = cache.keep('c', Promise.reject(new Error('no')));
  await expect(failed).rejects.toThrow('no');
  await Promise.resolve();
  expect(cache.find('c')).toBeUndefined();
});

test('what is too old is not given any more', async () => {
  const cache = createCache(1_000, 5);
  cache.keep('a', 'x');
  expect(cache.find('a')).toBe('x');
  await vi.waitFor(() => expect(cache.find('a')).toBeUndefined());
});
