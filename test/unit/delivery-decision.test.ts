import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AttemptErrorCode,
  decide,
  type Decision,
  type Dispatch,
  hasEnded,
  type SendResult,
  statusAfter,
} from '../../src/domain/delivery.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { retryAfterMsMax, retryDelayMs } from '../../src/domain/retry-schedule.ts';

const uuid = '01890a5d-ac96-774b-bcce-b302099a8057';
const dispatch: Dispatch = {
  deliveryId: idFromUuid('delivery', uuid),
  projectId: idFromUuid('project', uuid),
  eventId: idFromUuid('event', uuid),
  webhookId: idFromUuid('webhook', uuid),
  eventType: 'config.deployed',
  body: '{}',
  url: 'https://example.com/',
  headers: [],
  signatureStyle: 'STANDARD_WEBHOOKS',
  secrets: [],
  asymmetricKeys: [],
  attemptNumber: 1,
  roundStart: 0,
  maxAttempts: 6,
  retryScheduleSeconds: [60, 300, 900, 3600, 14_400],
  trigger: 'AUTOMATIC',
  traceParent: null,
  claimedAt: new Date(0),
  createdAt: new Date(0),
};

function answered(status: number, extra: Partial<SendResult> = {}): SendResult {
  return { ...failed(null), response: { status, headers: [], body: '' }, ...extra };
}

function failed(errorCode: AttemptErrorCode | null): SendResult {
  return {
    startedAt: new Date(0),
    durationMs: 1,
    timings: { dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: null },
    response: null,
    errorCode,
    errorMessage: null,
    retryAfterMs: null,
    receiverControl: null,
  };
}

const anyErrorCode = fc.constantFrom<AttemptErrorCode>(
  'DNS',
  'CONNECT',
  'TLS',
  'TIMEOUT',
  'BLOCKED_ADDRESS',
  'PROTOCOL',
  'BODY_TOO_LARGE',
  'INTERNAL',
);

/** Weighted so that most attempts are followed by another. */
const anyResult = fc.oneof(
  anyErrorCode.map(failed),
  fc
    .record({
      status: fc.oneof(fc.integer({ min: 200, max: 599 }), fc.constantFrom(429, 503)),
      retryAfterMs: fc.option(fc.oneof(fc.nat(100_000_000), fc.nat(10 * retryAfterMsMax))),
      receiverControl: fc.oneof(
        { weight: 9, arbitrary: fc.constant(null) },
        { weight: 1, arbitrary: fc.constantFrom('disable', 'abort-message') },
      ),
    })
    .map(({ status, ...extra }) => answered(status, extra)),
);
const failingResult = fc.oneof(
  anyErrorCode.map(failed),
  fc
    .integer({ min: 300, max: 599 })
    .filter((status) => status !== 410)
    .map((status) => answered(status)),
);
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

/** Any answers, each with the number that jitters the wait after it. */
const answers = fc.infiniteStream(fc.tuple(anyResult, random));
const round = fc.record({
  maxAttempts: fc.integer({ min: 1, max: 12 }),
  retryScheduleSeconds: fc.array(fc.nat(100_000), { maxLength: 8 }),
});

/** One attempt of a round, from 1, and what followed from it. */
interface Step {
  attemptInRound: number;
  result: SendResult;
  chance: number;
  decision: Decision;
}

/** Makes the attempts of a round until the delivery ends; throws when it makes more than the round has. */
function liveRound(
  roundStart: number,
  { maxAttempts, retryScheduleSeconds }: { maxAttempts: number; retryScheduleSeconds: number[] },
  given: Iterator<[SendResult, number]>,
): Step[] {
  const steps: Step[] = [];
  const settings = { ...dispatch, roundStart, maxAttempts: roundStart + maxAttempts, retryScheduleSeconds };
  for (let attemptInRound = 1; attemptInRound <= maxAttempts; attemptInRound += 1) {
    const [result, chance] = given.next().value;
    const decision = decide({ ...settings, attemptNumber: roundStart + attemptInRound }, result, chance);
    steps.push({ attemptInRound, result, chance, decision });
    if (decision.kind !== 'retry') return steps;
  }
  throw new Error(`${maxAttempts} attempts did not end the delivery`);
}

/** What a receiver asked for and may ask for, in milliseconds. */
function askedMsOf({ response, retryAfterMs }: SendResult): number {
  return [429, 503].includes(response?.status ?? 0) ? Math.min(retryAfterMs ?? 0, retryAfterMsMax) : 0;
}

describe('a delivery’s life', () => {
  test('whatever is answered, it ends after at most maxAttempts attempts, and until then its next one is planned', () => {
    fc.assert(
      fc.property(round, fc.nat(20), answers, (settings, roundStart, given) => {
        const decisions = liveRound(roundStart, settings, given).map(({ decision }) => decision);
        const last = decisions.pop();
        expect(last && hasEnded(statusAfter(last))).toBe(true);
        for (const decision of decisions) {
          expect(statusAfter(decision)).toBe('RETRYING');
          expect(decision.kind === 'retry' && decision.delayMs).toSatisfy(Number.isSafeInteger);
        }
      }),
    );
  });

  test('every wait is within 20 % of the schedule’s, or what the receiver asked for up to 12 hours when that is longer', () => {
    fc.assert(
      fc.property(round, fc.nat(20), answers, (settings, roundStart, given) => {
        const { retryScheduleSeconds: waits } = settings;
        for (const { attemptInRound, result, chance, decision } of liveRound(roundStart, settings, given)) {
          if (decision.kind !== 'retry') break;
          const baseMs = (waits[Math.min(attemptInRound, waits.length) - 1] ?? 0) * 1000;
          const askedMs = askedMsOf(result);
          const plainMs = retryDelayMs(waits, attemptInRound, chance, null);
          expect(decision.delayMs).toBe(Math.max(plainMs, askedMs));
          expect(decision.delayMs).toBeGreaterThanOrEqual(Math.max(Math.floor(baseMs * 0.8), askedMs));
          expect(decision.delayMs).toBeLessThanOrEqual(Math.max(Math.ceil(baseMs * 1.2), askedMs));
        }
      }),
    );
  });

  test('each resend starts a new round, which goes like the first with the same answers', () => {
    fc.assert(
      fc.property(round, fc.integer({ min: 1, max: 5 }), answers, (settings, resendCount, given) => {
        let attemptCount = liveRound(0, settings, given).length;
        for (let resend = 0; resend < resendCount; resend += 1) {
          const steps = liveRound(attemptCount, settings, given);
          const replayed = steps.map(({ result, chance }): [SendResult, number] => [result, chance]);
          expect(liveRound(0, settings, replayed.values())).toEqual(steps);
          attemptCount += steps.length;
          expect(attemptCount).toBeLessThanOrEqual((resend + 2) * settings.maxAttempts);
        }
      }),
    );
  });

  test('one that always fails is tried exactly maxAttempts times and ends exhausted', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), failingResult, random, (maxAttempts, result, chance) => {
        const decisions = Array.from({ length: maxAttempts }, (_, index) =>
          decide({ ...dispatch, maxAttempts, attemptNumber: index + 1 }, result, chance),
        );
        expect(decisions.slice(0, -1).every((decision) => decision.kind === 'retry')).toBe(true);
        expect(decisions.at(-1)).toEqual({ kind: 'failed', reason: 'EXHAUSTED', disableWebhook: null });
      }),
    );
  });
});

test('every 2xx delivers, even when the body did not come whole', () => {
  for (let status = 200; status < 300; status += 1)
    expect(decide(dispatch, answered(status), 0.5)).toEqual({ kind: 'delivered' });
  expect(decide(dispatch, answered(200, { errorCode: 'BODY_TOO_LARGE' }), 0.5)).toEqual({ kind: 'delivered' });
  expect(decide({ ...dispatch, attemptNumber: 6 }, answered(200), 0.5)).toEqual({ kind: 'delivered' });
});

test.each([301, 302, 304, 400, 401, 404, 408, 429, 500, 502, 503])('a %i answer is retried', (status) => {
  expect(decide(dispatch, answered(status), 0.5)).toEqual({ kind: 'retry', delayMs: 60_000 });
});

test('a 410 answer ends the delivery at once and disables the webhook', () => {
  expect(decide(dispatch, answered(410), 0.5)).toEqual({ kind: 'failed', reason: 'GONE', disableWebhook: 'GONE' });
});

test('webhook-delivery: disable ends the delivery and disables the webhook, whatever the status', () => {
  for (const status of [200, 410, 500]) {
    expect(decide(dispatch, answered(status, { receiverControl: 'disable' }), 0.5)).toEqual({
      kind: 'failed',
      reason: 'DISABLED_BY_RECEIVER',
      disableWebhook: 'DISABLED_BY_RECEIVER',
    });
  }
});

test('webhook-delivery: abort-message ends this delivery only', () => {
  expect(decide(dispatch, answered(500, { receiverControl: 'abort-message' }), 0.5)).toEqual({
    kind: 'failed',
    reason: 'ABORTED_BY_RECEIVER',
    disableWebhook: null,
  });
});

test('Retry-After counts with 429 and 503 only', () => {
  const statuses = [301, 400, 429, 500, 502, 503];
  const decisions = statuses.map((status) => decide(dispatch, answered(status, { retryAfterMs: 600_000 }), 0.5));
  const delays = decisions.map((decision) => (decision.kind === 'retry' ? decision.delayMs : null));
  expect(delays).toEqual([60_000, 60_000, 600_000, 60_000, 60_000, 600_000]);
});

test('a resend starts the schedule anew', () => {
  expect(decide({ ...dispatch, attemptNumber: 7, roundStart: 6, maxAttempts: 12 }, failed('TIMEOUT'), 0.5)).toEqual({
    kind: 'retry',
    delayMs: 60_000,
  });
});

test('each decision gives its delivery a status', () => {
  expect(statusAfter({ kind: 'delivered' })).toBe('DELIVERED');
  expect(statusAfter({ kind: 'retry', delayMs: 0 })).toBe('RETRYING');
  expect(statusAfter({ kind: 'failed', reason: 'GONE', disableWebhook: 'GONE' })).toBe('FAILED');
});
