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
  for (const wrong of ['k1', 'Basic a2V5', 'Bearer ', 'Bearer a b', `Bearer ${'k'.repeat(513)}`, 42, ['Bearer k1']]) {
    expect(parseAuthorization(wrong)).toEqual({ kind: 'unusable' });
  }
});

test('connection params are read in either spelling, and before the header of the upgrade request', () => {
  expect(parseConnectionParams({ authorization: 'Bearer k1' }, 'Bearer other')).toEqual(key);
  expect(parseConnectionParams({ Authorization: 'Bearer k1' }, undefined)).toEqual(key);
  expect(parseConnectionParams(undefined, 'Bearer k1')).toEqual(key);
  expect(parseConnectionParams({ client: 'x' }, undefined)).toEqual({ kind: 'none' });
  expect(parseConnectionParams('nonsense', undefined)).toEqual({ kind: 'none' });
});
