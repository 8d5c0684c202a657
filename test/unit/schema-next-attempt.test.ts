import { expect, test } from 'vitest';
import { nextAttemptAt } from '../../schema/delivery.ts';

const now = new Date('2026-01-01T00:00:00Z');
const earlier = new Date('2025-12-31T23:59:59Z');
const later = new Date('2026-01-01T00:01:00Z');

test.each([
  ['RETRYING', later, later],
  ['RETRYING', earlier, earlier],
  ['PENDING', later, later],
  ['PENDING', earlier, null],
  ['PENDING', null, null],
  ['DELIVERING', later, null],
  ['DELIVERED', null, null],
] as const)('the next attempt of a %s delivery due at %s is at %s', (status, dueAt, expected) => {
  expect(nextAttemptAt({ status, dueAt }, now)).toEqual(expected);
});
