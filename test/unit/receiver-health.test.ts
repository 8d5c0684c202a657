import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  circuitOpenMs,
  failingReason,
  failureWeightMax,
  initialCap,
  nextCap,
  nextFailureWeight,
  receiverSign,
} from '../../src/domain/receiver-health.ts';
import { answered, unanswered } from '../support/send-result.ts';
import type { Dispatch } from '../../src/domain/delivery.ts';
import type { ReceiverSign } from '../../src/domain/receiver-health.ts';

type Tried = Pick<Dispatch, 'attemptNumber' | 'maxAttempts' | 'trigger'>;

const failures = fc.constantFrom<ReceiverSign>('overloaded', 'refused', 'unanswered', 'unknown');
const signs = fc.oneof(fc.constant<ReceiverSign>('succeeded'), failures);
const firstOfSix: Tried = { attemptNumber: 1, maxAttempts: 6, trigger: 'AUTOMATIC' };
const lastOfSix: Tried = { ...firstOfSix, attemptNumber: 6 };

/** How many such attempts in a row make a webhook FAILING. */
function countToFailing(sign: ReceiverSign, tried: Tried, before = 0): number {
  let weight = before;
  for (let count = 1; count <= 1_000; count += 1) {
    weight = nextFailureWeight(weight, sign, tried);
    if (weight >= failureWeightMax) return count;
  }
  return Number.POSITIVE_INFINITY;
}

function weightAfter(count: number, sign: ReceiverSign): number {
  let weight = 0;
  for (let done = 0; done < count; done += 1) weight = nextFailureWeight(weight, sign, firstOfSix);
  return weight;
}

describe('what an attempt says about its receiver', () => {
  test.each([
    [answered(200), 'succeeded'],
    [answered(299), 'succeeded'],
    [answered(204, { errorCode: 'BODY_TOO_LARGE' }), 'succeeded'],
    [answered(429), 'overloaded'],
    [answered(503), 'overloaded'],
    [answered(301), 'refused'],
    [answered(404), 'refused'],
    [answered(410), 'unknown'],
    [answered(500), 'refused'],
    [unanswered('TIMEOUT'), 'unanswered'],
    [unanswered('CONNECT'), 'unanswered'],
    [unanswered('DNS'), 'unanswered'],
    [unanswered('BLOCKED_ADDRESS'), 'unanswered'],
    [unanswered('INTERNAL'), 'unknown'],
  ])('%#. an answer or its absence is read as the sign it is', (result, sign) => {
    expect(receiverSign(result)).toBe(sign);
  });

  test('the reason of FAILING is the status of the last answer, or the code of what came instead', () => {
    expect([failingReason(answered(502)), failingReason(unanswered('TIMEOUT'))]).toEqual(['HTTP_502', 'TIMEOUT']);
  });
});

describe('the cap of requests in flight', () => {
  test('it stays between 1 and the maximum, whatever the answers', () => {
    const steps = fc.array(fc.record({ sign: signs, inFlight: fc.integer({ min: 1, max: 600 }) }), { maxLength: 200 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 512 }), steps, (capMax, answers) => {
        let cap = Math.min(initialCap, capMax);
        for (const { sign, inFlight } of answers) {
          cap = nextCap(cap, sign, { inFlight, capMax });
          expect(cap).toBeGreaterThanOrEqual(1);
          expect(cap).toBeLessThanOrEqual(capMax);
          expect(Number.isInteger(cap)).toBe(true);
        }
      }),
    );
  });

  test('a success raises it by one where half of it is in use, and never otherwise', () => {
    const caps = fc.integer({ min: 1, max: 63 });
    fc.assert(
      fc.property(caps, fc.integer({ min: 1, max: 200 }), (cap, inFlight) => {
        const next = nextCap(cap, 'succeeded', { inFlight, capMax: 64 });
        expect(next > cap).toBe(inFlight * 2 >= cap);
        expect(next).toBeLessThanOrEqual(cap + 1);
      }),
    );
  });

  test('no answer, a 429 or a 503 halves it, down to 1', () => {
    for (const sign of ['unanswered', 'overloaded'] as const) {
      let cap = 64;
      const caps = Array.from({ length: 8 }, () => (cap = nextCap(cap, sign, { inFlight: 1, capMax: 64 })));
      expect(caps).toEqual([32, 16, 8, 4, 2, 1, 1, 1]);
    }
  });

  test('a refusal and a failure on our side leave it as it is', () => {
    for (const sign of ['refused', 'unknown'] as const) {
      expect(nextCap(20, sign, { inFlight: 20, capMax: 64 })).toBe(20);
    }
  });

  test('while less than a quarter of it is in use it sinks, to the initial one and no further', () => {
    let cap = 64;
    for (let count = 0; count < 100; count += 1) cap = nextCap(cap, 'succeeded', { inFlight: 1, capMax: 64 });
    expect(cap).toBe(initialCap);
    expect(nextCap(64, 'succeeded', { inFlight: 16, capMax: 64 })).toBe(64);
    expect(nextCap(4, 'succeeded', { inFlight: 1, capMax: 64 })).toBe(4);
  });
});

describe('failures in a row', () => {
  test('five attempts without an answer reach the limit, and thirty that are refused or told to come later', () => {
    expect(countToFailing('unanswered', firstOfSix)).toBe(5);
    expect(countToFailing('refused', firstOfSix)).toBe(30);
    expect(countToFailing('overloaded', firstOfSix)).toBe(30);
  });

  test('a delivery that fails to its last attempt reaches the limit after five other failures, and not after four', () => {
    expect(countToFailing('refused', lastOfSix, weightAfter(5, 'refused'))).toBe(1);
    expect(countToFailing('refused', lastOfSix, weightAfter(4, 'refused'))).toBe(2);
    expect(countToFailing('refused', { ...firstOfSix, maxAttempts: 1 })).toBe(2);
  });

  test('a success ends them, whatever they came to and whatever asked for the attempt', () => {
    const triggers = fc.constantFrom<Dispatch['trigger']>('AUTOMATIC', 'MANUAL', 'TEST');
    fc.assert(
      fc.property(fc.nat(10_000), triggers, fc.integer({ min: 1, max: 6 }), (weight, trigger, attemptNumber) => {
        expect(nextFailureWeight(weight, 'succeeded', { attemptNumber, maxAttempts: 6, trigger })).toBe(0);
      }),
    );
  });

  test('a test that fails and a failure on our side say nothing', () => {
    fc.assert(
      fc.property(fc.nat(10_000), failures, (weight, sign) => {
        expect(nextFailureWeight(weight, sign, { ...lastOfSix, trigger: 'TEST' })).toBe(weight);
        expect(nextFailureWeight(weight, 'unknown', lastOfSix)).toBe(weight);
      }),
    );
  });

  test('a receiver that answers every other attempt never reaches the limit', () => {
    fc.assert(
      fc.property(fc.array(signs, { maxLength: 100 }), (answers) => {
        let weight = 0;
        for (const sign of answers) {
          weight = nextFailureWeight(weight, sign, firstOfSix);
          expect(weight).toBeLessThan(failureWeightMax);
          weight = nextFailureWeight(weight, 'succeeded', firstOfSix);
        }
      }),
    );
  });
});

describe('the time that a circuit stays open', () => {
  test('it is 5 s, doubled for each opening in a row up to 2 minutes', () => {
    const seconds = [1, 2, 3, 4, 5, 6, 7, 1_000, 32_767].map((count) => circuitOpenMs(count, 0.5) / 1_000);
    expect(seconds).toEqual([5, 10, 20, 40, 80, 120, 120, 120, 120]);
  });

  test('it is spread by 20 % to either side', () => {
    expect([circuitOpenMs(1, 0), circuitOpenMs(1, 1)]).toEqual([4_000, 6_000]);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (count, random) => {
          const openMs = circuitOpenMs(count, random);
          expect(openMs).toBeGreaterThanOrEqual(4_000);
          expect(openMs).toBeLessThanOrEqual(144_000);
        },
      ),
    );
  });
});
