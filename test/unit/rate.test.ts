import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { budgetLeft, budgetRequest, rateRequest, takeAtRate } from '../../src/domain/rate.ts';
import type { RateState, RateTake } from '../../src/domain/rate.ts';

/** A take that happened. */
interface Taken {
  atUs: number;
  perSecond: number;
  granted: number;
  waitMs: number;
}

/** A take to make `afterUs` after the one before, or as soon as that one promised a start. */
interface Step {
  afterUs: number | 'WAIT';
  wanted: number;
  perSecond: number;
}

const rates = fc.oneof(
  fc.integer({ min: 1, max: 20_000 }),
  fc.double({ min: 0.001, max: 100_000, noNaN: true }),
  fc.constantFrom(1 / 3, 7, 10, 11, 15, 600_000),
);
const gaps = fc.oneof(fc.constant('WAIT' as const), fc.nat(200), fc.nat(200_000), fc.nat(20_000_000));
const wants = fc.oneof(fc.integer({ min: 1, max: 3 }), fc.nat(1000), fc.constant(1_000_000));

function stepsAt(perSecond: fc.Arbitrary<number>): fc.Arbitrary<Step[]> {
  return fc.array(fc.record({ afterUs: gaps, wanted: wants, perSecond }), { minLength: 1, maxLength: 50 });
}

function takeAll(steps: readonly Step[]): Taken[] {
  let state: RateState | null = null;
  let atUs = 1_767_225_600_000_000;
  let waitMs = 0;
  return steps.map(({ afterUs, wanted, perSecond }) => {
    atUs += afterUs === 'WAIT' ? Math.round(waitMs * 1000) : afterUs;
    const taken: RateTake = takeAtRate(state, atUs, rateRequest(perSecond, wanted));
    ({ state, waitMs } = taken);
    return { atUs, perSecond, granted: taken.granted, waitMs };
  });
}

/** By how many starts the fullest window goes over `perSecond` and its burst; negative when none does. */
function excess(taken: readonly Taken[], perSecond: number): number {
  let most = Number.NEGATIVE_INFINITY;
  for (const [index, first] of taken.entries()) {
    let granted = 0;
    for (const last of taken.slice(index)) {
      granted += last.granted;
      const allowed = (perSecond * (last.atUs - first.atUs)) / 1_000_000 + Math.max(1, perSecond / 10);
      most = Math.max(most, granted - allowed);
    }
  }
  return most;
}

/** For sums of numbers that are not exact. */
const rounding = 1e-6;

describe('a rate', () => {
  test('is kept over every window, whatever is taken when', () => {
    fc.assert(
      fc.property(
        rates.chain((perSecond) => stepsAt(fc.constant(perSecond))),
        (steps) => {
          expect(excess(takeAll(steps), steps[0]?.perSecond ?? 0)).toBeLessThan(rounding);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('that changes at will never gives more than the highest of its values would', () => {
    fc.assert(
      fc.property(
        fc.array(rates, { minLength: 2, maxLength: 3 }).chain((some) => stepsAt(fc.constantFrom(...some))),
        (steps) => {
          const highest = Math.max(...steps.map(({ perSecond }) => perSecond));
          expect(excess(takeAll(steps), highest)).toBeLessThan(rounding);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('grants at least one start after exactly the wait that it gave', () => {
    fc.assert(
      fc.property(
        rates.chain((perSecond) => stepsAt(fc.constant(perSecond))),
        (steps) => {
          for (const [index, { perSecond }] of steps.entries()) {
            const again: Step = { afterUs: 'WAIT', wanted: 1, perSecond };
            const [before, last] = takeAll([...steps.slice(0, index + 1), again]).slice(-2);
            expect(before?.waitMs === 0 || last?.granted === 1).toBe(true);
          }
        },
      ),
    );
  });

  test('waits exactly when it does not grant all, and not for longer than it must', () => {
    fc.assert(
      fc.property(
        rates.chain((perSecond) => stepsAt(fc.constant(perSecond))),
        (steps) => {
          for (const [index, { granted, waitMs, perSecond }] of takeAll(steps).entries()) {
            expect(waitMs === 0).toBe(granted === steps[index]?.wanted);
            expect(waitMs).toBeLessThanOrEqual(Math.ceil(1_000_000 / perSecond) / 1000);
          }
        },
      ),
    );
  });

  test('is reached by who always takes when it may', () => {
    fc.assert(
      fc.property(rates, fc.integer({ min: 2, max: 200 }), (perSecond, count) => {
        const steps = Array.from({ length: count }, (): Step => ({ afterUs: 'WAIT', wanted: 1_000_000, perSecond }));
        const taken = takeAll(steps);
        const seconds = ((taken.at(-1)?.atUs ?? 0) - (taken[0]?.atUs ?? 0)) / 1_000_000;
        const granted = taken.reduce((sum, take) => sum + take.granted, 0);
        // Waits are rounded up to a microsecond, which is a hundred thousandth of the shortest one that uses all its time.
        expect(granted).toBeGreaterThanOrEqual(Math.floor(perSecond * seconds * (1 - 1e-5)));
      }),
    );
  });

  test('of 100 a second grants 10 at once, then one every 10 ms', () => {
    const first = takeAtRate(null, 0, rateRequest(100, 1000));
    expect(first).toEqual({ granted: 10, waitMs: 10, state: { atUs: 0, leadUs: 100_000 } });
    expect(takeAtRate(first.state, 9_999, rateRequest(100, 1))).toMatchObject({ granted: 0, waitMs: 0.001 });
    expect(takeAtRate(first.state, 10_000, rateRequest(100, 1))).toMatchObject({ granted: 1, waitMs: 0 });
    expect(takeAtRate(first.state, 35_000, rateRequest(100, 9))).toMatchObject({ granted: 3, waitMs: 5 });
    expect(takeAtRate(first.state, 3_600_000_000, rateRequest(100, 1000))).toMatchObject({ granted: 10, waitMs: 10 });
  });

  test('of a third of a start a second grants one every three seconds', () => {
    const first = takeAtRate(null, 0, rateRequest(1 / 3, 2));
    expect(first).toMatchObject({ granted: 1, waitMs: 3000 });
    expect(takeAtRate(first.state, 1_000_000, rateRequest(1 / 3, 1))).toMatchObject({ granted: 0, waitMs: 2000 });
  });

  test('that is raised or lowered applies to the next take', () => {
    const slow = takeAtRate(null, 0, rateRequest(0.01, 1));
    expect(takeAtRate(slow.state, 0, rateRequest(100, 1))).toMatchObject({ granted: 0, waitMs: 10 });
    const fast = takeAtRate(null, 0, rateRequest(10_000, 1000));
    const lowered = takeAtRate(fast.state, 0, rateRequest(1, 1));
    expect(lowered).toMatchObject({ granted: 0, waitMs: 100 });
    expect(takeAtRate(lowered.state, 100_000, rateRequest(1, 2))).toMatchObject({ granted: 1, waitMs: 1000 });
  });

  test('neither gives nor takes anything when the clock is set back', () => {
    const hourUs = 3_600_000_000;
    const first = takeAtRate(null, hourUs, rateRequest(100, 3));
    const back = takeAtRate(first.state, 0, rateRequest(100, 100));
    expect(back).toMatchObject({ granted: 7, waitMs: 10 });
    expect(takeAtRate(back.state, 10_000, rateRequest(100, 1))).toMatchObject({ granted: 1, waitMs: 0 });
  });
});

test.each([0, -0, -1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
  'a rate of %d is refused by name',
  (perSecond) => {
    expect(() => rateRequest(perSecond, 1)).toThrow(
      new RangeError(`perSecond is ${perSecond}, but must be a finite number above 0`),
    );
  },
);

test.each([-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])('%d starts are refused by name', (wanted) => {
  expect(() => rateRequest(1, wanted)).toThrow(
    new RangeError(`wanted is ${wanted}, but must be a whole number from 0`),
  );
});

describe('a budget', () => {
  const minute = { points: 600, periodMs: 60_000 };

  test('can be spent at once, comes back evenly, and is spent as a whole or not at all', () => {
    const first = takeAtRate(null, 0, budgetRequest(minute, 590));
    expect(first).toMatchObject({ granted: 590, waitMs: 0 });
    expect(budgetLeft(minute, first.state.leadUs)).toEqual({ remaining: 10, fullMs: 59_000 });
    const refused = takeAtRate(first.state, 0, budgetRequest(minute, 15));
    expect(refused).toMatchObject({ granted: 0, waitMs: 500 });
    expect(refused.state).toEqual(first.state);
    expect(takeAtRate(refused.state, 499_999, budgetRequest(minute, 15))).toMatchObject({ granted: 0 });
    expect(takeAtRate(refused.state, 500_000, budgetRequest(minute, 15))).toMatchObject({ granted: 15 });
  });

  test('is kept over every window, and after exactly the wait that was given as much can be spent', () => {
    const step = fc.record({ afterUs: fc.nat(30_000_000), cost: fc.integer({ min: 0, max: 600 }) });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 50 }), (steps) => {
        let state: RateState | null = null;
        let atUs = 0;
        let spent = 0;
        for (const { afterUs, cost } of steps) {
          atUs += afterUs;
          const taken: RateTake = takeAtRate(state, atUs, budgetRequest(minute, cost));
          state = taken.state;
          spent += taken.granted;
          expect([0, cost]).toContain(taken.granted);
          expect(spent).toBeLessThanOrEqual(600 + atUs / 100_000 + rounding);
          const later = takeAtRate(state, atUs + Math.round(taken.waitMs * 1000), budgetRequest(minute, cost));
          expect(taken.granted === cost || later.granted === cost).toBe(true);
          expect(budgetLeft(minute, state.leadUs).remaining).toBeGreaterThanOrEqual(0);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test.each([-1, 0.5, 601, Number.NaN])('cannot be spent %d of, which is refused by name', (cost) => {
    expect(() => budgetRequest(minute, cost)).toThrow(
      new RangeError(`cost is ${cost}, but must be a whole number from 0 to 600`),
    );
  });

  test.each([0, -1, 1.5, Number.NaN])('of %d points is refused by name', (points) => {
    expect(() => budgetRequest({ points, periodMs: 1 }, 0)).toThrow(
      new RangeError(`points is ${points}, but must be a whole number from 1`),
    );
  });
});
