import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type AttemptErrorCode,
  decide,
  type Dispatch,
  type SendResult,
  statusAfter,
} from '../../src/domain/delivery.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { retryAfterMsMax } from '../../src/domain/retry-schedule.ts';

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
const anyResult = fc.oneof(
  anyErrorCode.map(failed),
  fc
    .record({
      status: fc.integer({ min: 200, max: 599 }),
      retryAfterMs: fc.option(fc.nat(10 * retryAfterMsMax)),
      receiverControl: fc.option(fc.constantFrom('disable', 'abort-message')),
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

describe('a delivery’s life', () => {
  test('whatever is answered, it ends, after at most maxAttempts attempts, having waited as the schedule or the receiver says', () => {
    const life = fc.record({
      maxAttempts: fc.integer({ min: 1, max: 12 }),
      roundStart: fc.nat(20),
      retryScheduleSeconds: fc.array(fc.nat(100_000), { maxLength: 8 }),
      answers: fc.infiniteStream(fc.tuple(anyResult, random)),
    });
    fc.assert(
      fc.property(life, ({ maxAttempts, roundStart, retryScheduleSeconds, answers }) => {
        let attemptNumber = roundStart;
        for (const [result, chance] of answers) {
          attemptNumber += 1;
          expect(attemptNumber).toBeLessThanOrEqual(roundStart + maxAttempts);
          const decision = decide(
            { ...dispatch, attemptNumber, roundStart, maxAttempts: roundStart + maxAttempts, retryScheduleSeconds },
            result,
            chance,
          );
          if (decision.kind !== 'retry') break;
          const baseMs =
            (retryScheduleSeconds[Math.min(attemptNumber - roundStart, retryScheduleSeconds.length) - 1] ?? 0) * 1000;
          const askedMs = Math.min(
            [429, 503].includes(result.response?.status ?? 0) ? (result.retryAfterMs ?? 0) : 0,
            retryAfterMsMax,
          );
          expect(decision.delayMs).toBeGreaterThanOrEqual(Math.max(Math.floor(baseMs * 0.8), askedMs));
          expect(decision.delayMs).toBeLessThanOrEqual(Math.max(Math.ceil(baseMs * 1.2), askedMs));
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
