import { expect, test } from 'vitest';
import { parseAuthorization, parseConnectionParams } from '../../src/gateway/credentials.ts';

const key = { kind: 'key', key: 'k1' };

test('a bearer key is read whatever the case of its scheme', () => {
  expect(parseAuthorization('Bearer k1')).toEqual(key);
  expect(parseAuthorization('bearer   k1 ')).toEqual(key);
});

test('nothing is no credentials, and what cannot be a key is a wrong one', () => {
  expect(parseAuthorization(undefined)).toEqual({ kind: 'none' });
  expect(parseAuthorization('')).toEqual({ kind: 'none' });
  for (const wrong of [
    'k1',
    'Basic a2V5',
    'Bearer ',
    'Bearer a b',
    `Bearer ${'k'.repeat(1025)}`,
    'Access',
    `Access ${'k'.repeat(1025)}`,
    42,
    ['Bearer k1'],
  ]) {
    expect(parseAuthorization(wrong)).toEqual({ kind: 'unusable' });
  }
});

test('an admin key is read whatever the case of its scheme, blanks inside included', () => {
  expect(parseAuthorization('Access k1')).toEqual({ kind: 'admin', key: 'k1' });
  expect(parseAuthorization(' access  two words ')).toEqual({ kind: 'admin', key: 'two words' });
  expect(parseConnectionParams({ authorization: 'Access k1' }, undefined)).toEqual({ kind: 'admin', key: 'k1' });
});

test('connection params are read in either spelling, and before the header of the upgrade request', () => {
  expect(parseConnectionParams({ authorization: 'Bearer k1' }, 'Bearer other')).toEqual(key);
  expect(parseConnectionParams({ Authorization: 'Bearer k1' }, undefined)).toEqual(key);
  expect(parseConnectionParams(undefined, 'Bearer k1')).toEqual(key);
  expect(parseConnectionParams({ client: 'x' }, undefined)).toEqual({ kind: 'none' });
  expect(parseConnectionParams('nonsense', undefined)).toEqual({ kind: 'none' });
});
