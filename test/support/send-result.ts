import type { AttemptErrorCode, SendResult } from '../../src/domain/delivery.ts';

/** What an attempt gives whose receiver answered with the status. */
export function answered(status: number, changes: Partial<SendResult> = {}): SendResult {
  return {
    startedAt: new Date(),
    durationMs: 12.3,
    timings: { dnsMs: null, connectMs: 0.4, tlsMs: null, firstByteMs: 11.9 },
    response: { status, headers: [{ name: 'x-a', value: 'b' }], body: 'answer' },
    errorCode: null,
    errorMessage: null,
    retryAfterMs: null,
    receiverControl: null,
    ...changes,
  };
}

/** What an attempt gives that got no answer. */
export function unanswered(errorCode: AttemptErrorCode): SendResult {
  return answered(200, { response: null, errorCode, errorMessage: 'No answer came.' });
}
