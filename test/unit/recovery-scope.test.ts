import { expect, test } from 'vitest';
import { parseRecoveryFilter } from '../../src/store/recovery-scope.ts';

const stored = {
  webhookIds: ['wh_01jdqv7m9te0k8z3x5y7w9v1a2'],
  statuses: ['CANCELLED'],
  eventTypes: ['config.*'],
  failureReasons: ['EXHAUSTED'],
};

test('a filter is read as its row keeps it', () => {
  expect(parseRecoveryFilter(stored)).toEqual(stored);
});

test.each([
  ['webhookIds', null],
  ['statuses', ['FAILED', 'SKIPPED']],
  ['eventTypes', null],
  ['failureReasons', null],
])('a row of a version that knew no %s is read all the same', (key, expected) => {
  const { [key]: _unknown, ...older } = stored as Record<string, unknown>;
  expect(parseRecoveryFilter(older)).toEqual({ ...stored, [key]: expected });
});

test.each([
  { key: 'statuses', value: ['DELIVERED'] },
  { key: 'webhookIds', value: ['evt_01jdqv7m9te0k8z3x5y7w9v1a2'] },
  { key: 'eventTypes', value: 'config.*' },
])('what is no filter is not taken for one that narrows nothing: $key', ({ key, value }) => {
  expect(() => parseRecoveryFilter({ ...stored, [key]: value })).toThrow(key === 'webhookIds' ? 'evt_' : key);
});
