import { expect, test } from 'vitest';
import { SchemaCache } from '../../src/store/schema-cache.ts';

const kib = 1024;

test('a project with more than there is room for displaces its own, those used least recently first', () => {
  const cache = new SchemaCache<string>(100 * kib);
  cache.keep('small', 'only', 'kept', 10 * kib);
  for (let index = 0; index < 9; index += 1) cache.keep('large', `t${index}`, `${index}`, 10 * kib);
  expect(cache.find('large', 't0')).toBe('0');
  for (let index = 9; index < 17; index += 1) cache.keep('large', `t${index}`, `${index}`, 10 * kib);
  expect(cache.find('small', 'only')).toBe('kept');
  expect(cache.find('large', 't0')).toBe('0');
  expect(cache.find('large', 't1')).toBeUndefined();
  expect(cache.find('large', 't16')).toBe('16');
});

test('a schema that is kept again or forgotten takes no room twice', () => {
  const cache = new SchemaCache<string>(30 * kib);
  cache.keep('a', 'other', 'kept', 10 * kib);
  for (let round = 0; round < 10; round += 1) cache.keep('a', 'again', `${round}`, 20 * kib);
  expect(cache.find('a', 'other')).toBe('kept');
  cache.forget('a', 'again');
  cache.keep('b', 'more', 'kept', 20 * kib);
  expect(cache.find('a', 'other')).toBe('kept');
});

test('short schemas are limited in number', () => {
  const cache = new SchemaCache<number>(10 * kib);
  for (let index = 0; index < 11; index += 1) cache.keep('a', `t${index}`, index, 2);
  expect(cache.find('a', 't0')).toBeUndefined();
  expect(cache.find('a', 't1')).toBe(1);
});
