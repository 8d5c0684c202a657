import { expect, test } from 'vitest';
import { TimeBudget } from '../../src/json-schema/time-budget.ts';

test('a key that has taken its time waits until some is given back, and others do not', () => {
  let nowMs = 0;
  const budget = new TimeBudget({ burstMs: 200, perSecondMs: 50, now: () => nowMs });
  budget.take('a', 199);
  expect(budget.isSpent('a')).toBe(false);
  budget.take('a', 51);
  expect(budget.isSpent('a')).toBe(true);
  expect(budget.isSpent('b')).toBe(false);
  nowMs = 1_000;
  expect(budget.isSpent('a')).toBe(true);
  nowMs = 1_001;
  expect(budget.isSpent('a')).toBe(false);
});

test('keys that owe nothing are forgotten, those that do are not', () => {
  let nowMs = 0;
  const budget = new TimeBudget({ burstMs: 10, perSecondMs: 1, now: () => nowMs });
  for (let index = 0; index < 20_000; index += 1) {
    nowMs += 1;
    budget.take(`key ${index}`, 0.001);
  }
  budget.take('slow', 20);
  expect(budget.isSpent('slow')).toBe(true);
  expect(budget.keyCount).toBeLessThanOrEqual(10_000);
});
