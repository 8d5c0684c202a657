import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  defaultMaxAttempts,
  defaultRetryScheduleSeconds,
  isRetrySchedule,
  retryAfterMsMax,
  retryDelayMs,
} from '../../src/domain/retry-schedule.ts';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const schedule = fc.array(fc.nat(7 * 24 * 3600), { minLength: 1, maxLength: 20 });

test('without jitter the default waits are 1 min, 5 min, 15 min, 1 h and 4 h', () => {
  const waits = Array.from({ length: defaultMaxAttempts - 1 }, (_, index) =>
    retryDelayMs(defaultRetryScheduleSeconds, index + 1, 0.5, null),
  );
  expect(waits).toEqual([60_000, 300_000, 900_000, 3_600_000, 14_400_000]);
});

test('every wait is within 20 % of the schedule’s, whose last entry repeats', () => {
  fc.assert(
    fc.property(schedule, fc.integer({ min: 1, max: 40 }), random, (seconds, attempt, chance) => {
      const baseMs = (seconds[Math.min(attempt, seconds.length) - 1] ?? 0) * 1000;
      const delayMs = retryDelayMs(seconds, attempt, chance, null);
      expect(delayMs).toBeGreaterThanOrEqual(Math.floor(baseMs * 0.8));
      expect(delayMs).toBeLessThanOrEqual(Math.ceil(baseMs * 1.2));
    }),
  );
});

test('Retry-After lengthens a wait up to 12 hours and never shortens it', () => {
  fc.assert(
    fc.property(schedule, random, fc.nat(10 * retryAfterMsMax), (seconds, chance, retryAfterMs) => {
      const plain = retryDelayMs(seconds, 1, chance, null);
      expect(retryDelayMs(seconds, 1, chance, retryAfterMs)).toBe(
        Math.max(plain, Math.min(retryAfterMs, retryAfterMsMax)),
      );
    }),
  );
});

test('an empty schedule waits not at all', () => {
  expect(retryDelayMs([], 1, 0.9, null)).toBe(0);
});

describe('a person’s schedule', () => {
  test.each([[[]], [[0]], [[60, 300.5]], [[7 * 24 * 3600]], [Array.from({ length: 20 }, () => 1)]])(
    '%j is taken',
    (seconds) => {
      expect(isRetrySchedule(seconds)).toBe(true);
    },
  );

  test.each([
    [[-1]],
    [[Number.NaN]],
    [[Number.POSITIVE_INFINITY]],
    [[7 * 24 * 3600 + 1]],
    [Array.from({ length: 21 }, () => 1)],
  ])('%j is refused', (seconds) => {
    expect(isRetrySchedule(seconds)).toBe(false);
  });
});
