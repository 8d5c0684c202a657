import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attemptPreview, type PreviewedDelivery, upcomingAttempts } from '../../src/domain/attempt-preview.ts';
import { deliveryStatuses, hasEnded } from '../../src/domain/delivery.ts';
import { retryDelayMs } from '../../src/domain/retry-schedule.ts';

const now = new Date('2026-01-01T00:00:00Z');
const later = new Date('2026-01-01T01:00:00Z');
const fresh: PreviewedDelivery = { status: 'PENDING', attemptCount: 0, maxAttempts: 3, roundStart: 0, dueAt: null };

/** The preview in seconds from now. */
function seconds(delivery: Partial<PreviewedDelivery>, schedule = [60, 300]): [number, number, number][] {
  return upcomingAttempts({ ...fresh, ...delivery }, schedule, now).map(({ number, earliestAt, latestAt }) => [
    number,
    (earliestAt.getTime() - now.getTime()) / 1000,
    (latestAt.getTime() - now.getTime()) / 1000,
  ]);
}

describe('the coming attempts', () => {
  test('of a new delivery begin now and follow its schedule', () => {
    expect(seconds({})).toEqual([
      [1, 0, 0],
      [2, 48, 72],
      [3, 288, 432],
    ]);
  });

  test('of one that waits begin when it is due', () => {
    expect(seconds({ dueAt: later, attemptCount: 1, status: 'RETRYING' })).toEqual([
      [2, 3600, 3600],
      [3, 3840, 3960],
    ]);
  });

  test('of one that is overdue begin now', () => {
    expect(seconds({ dueAt: new Date(0), attemptCount: 2, status: 'RETRYING' })).toEqual([[3, 0, 0]]);
  });

  test('do not hold the one under way, whose lease says nothing about the next', () => {
    expect(seconds({ status: 'DELIVERING', dueAt: later })).toEqual([
      [2, 48, 72],
      [3, 288, 432],
    ]);
    expect(seconds({ status: 'DELIVERING', attemptCount: 2 })).toEqual([]);
  });

  test('of a resend begin the schedule anew', () => {
    expect(seconds({ attemptCount: 3, roundStart: 3, maxAttempts: 5 })).toEqual([
      [4, 0, 0],
      [5, 48, 72],
    ]);
  });

  test('hold one more when all are used up and it is due all the same', () => {
    expect(seconds({ status: 'RETRYING', attemptCount: 3 })).toEqual([[4, 0, 0]]);
  });

  test('are none when the delivery has ended', () => {
    const ended = deliveryStatuses.filter(hasEnded);
    expect(ended).toEqual(['DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED']);
    for (const status of ended) expect(seconds({ status, dueAt: later })).toEqual([]);
  });
});

const schedules = fc.array(fc.oneof(fc.nat(100_000), fc.double({ min: 0, max: 10, noNaN: true })), { maxLength: 20 });
const chances = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
  minLength: 50,
  maxLength: 50,
});

/** When the attempts after `first` are made, in milliseconds after it, as `retryDelayMs` has it with these chances. */
function madeAfterMs(schedule: readonly number[], first: number, count: number, random: readonly number[]): number[] {
  let atMs = 0;
  return Array.from({ length: count }, (_, index) => {
    atMs += retryDelayMs(schedule, first + index, random[index] ?? 0, null);
    return atMs;
  });
}

describe('every previewed range', () => {
  test('holds the time at which the attempt is made, whatever the jitter gives', () => {
    const deliveries = fc.record({
      status: fc.constantFrom('PENDING' as const, 'RETRYING' as const, 'DELIVERING' as const),
      roundStart: fc.nat(10),
      made: fc.nat(10),
      left: fc.integer({ min: 1, max: 40 }),
      dueAt: fc.option(fc.date({ min: now, max: later, noInvalidDate: true })),
    });
    fc.assert(
      fc.property(deliveries, schedules, chances, ({ roundStart, made, left, ...state }, schedule, random) => {
        const attemptCount = roundStart + made;
        const delivery = { ...state, roundStart, attemptCount, maxAttempts: attemptCount + left };
        const startMs = (state.status === 'DELIVERING' ? now : (state.dueAt ?? now)).getTime();
        const atMs = [0, ...madeAfterMs(schedule, made + 1, left - 1, random)].map((afterMs) => startMs + afterMs);
        const numbered = atMs.map((ms, index) => ({ ms, number: attemptCount + 1 + index }));
        const coming = state.status === 'DELIVERING' ? numbered.slice(1) : numbered;
        const preview = upcomingAttempts(delivery, schedule, now);
        expect(preview.map(({ number }) => number)).toEqual(coming.map(({ number }) => number));
        for (const [index, { earliestAt, latestAt }] of preview.entries()) {
          expect(earliestAt.getTime()).toBeLessThanOrEqual(coming[index]?.ms ?? Number.NaN);
          expect(latestAt.getTime()).toBeGreaterThanOrEqual(coming[index]?.ms ?? Number.NaN);
        }
      }),
    );
  });

  test('of a webhook holds it too, and is what a new delivery’s is', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 50 }), schedules, chances, (maxAttempts, schedule, random) => {
        const preview = attemptPreview(maxAttempts, schedule);
        const afterMs = [0, ...madeAfterMs(schedule, 1, maxAttempts - 1, random)];
        expect(preview.map(({ number }) => number)).toEqual(afterMs.map((_, index) => index + 1));
        for (const [index, { earliestAfterSeconds, latestAfterSeconds }] of preview.entries()) {
          expect(earliestAfterSeconds).toBeLessThanOrEqual((afterMs[index] ?? Number.NaN) / 1000);
          expect(latestAfterSeconds).toBeGreaterThanOrEqual((afterMs[index] ?? Number.NaN) / 1000);
        }
        const ofDelivery = seconds({ maxAttempts }, schedule);
        expect(preview.map((each) => [each.number, each.earliestAfterSeconds, each.latestAfterSeconds])).toEqual(
          ofDelivery,
        );
      }),
    );
  });
});
