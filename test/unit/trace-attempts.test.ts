import { describe, expect, test } from 'vitest';
import { partsOf } from '../../src/domain/trace-parent.ts';
import { traceAttempts } from '../../worker/trace-attempts.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { noteSpans, placeOf } from '../support/noted-spans.ts';
import { answered, unanswered } from '../support/send-result.ts';
import type { Dispatch, SendResult } from '../../src/domain/delivery.ts';
import type { TraceParent } from '../../src/domain/trace-parent.ts';
import type { Sender } from '../../worker/send.ts';

const never = new AbortController().signal;
const emitted = placeOf('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
const ours = placeOf('00-11111111111111111111111111111111-2222222222222222-01');

/** A sender that gives the result and notes what it was told of the trace. */
function sender(result: SendResult | Error = answered(200)): Sender & { told: (TraceParent | null | undefined)[] } {
  const told: (TraceParent | null | undefined)[] = [];
  return {
    told,
    send: async (_dispatch, _signal, traceParent) => {
      told.push(traceParent);
      if (result instanceof Error) throw result;
      return result;
    },
    [Symbol.asyncDispose]: async () => {},
  };
}

function dispatch(changes: Partial<Dispatch> = {}): Dispatch {
  return dispatchTo('https://user.example/secret-path?token=geheim', { traceParent: emitted, ...changes });
}

describe('without a tracer', () => {
  test('an attempt of an event without a trace is sent as it is', async () => {
    const inner = sender();
    const send = traceAttempts(inner, { tracer: null, sendTraceparent: true });
    expect(await send(dispatch({ traceParent: null }), never)).not.toHaveProperty('traceId');
    expect(inner.told).toEqual([undefined]);
  });

  test('a receiver is told of another place in the trace of the emit, under its flags', async () => {
    const inner = sender();
    const send = traceAttempts(inner, { tracer: null, sendTraceparent: true });
    const results = [await send(dispatch(), never), await send(dispatch({ attemptNumber: 2 }), never)];
    const [first, second] = inner.told.map((told) => partsOf(told ?? emitted));
    const { traceId, spanId, flags } = partsOf(emitted);
    expect([first, second]).toMatchObject([
      { traceId, flags },
      { traceId, flags },
    ]);
    expect(new Set([spanId, first?.spanId, second?.spanId]).size).toBe(3);
    expect(results).toMatchObject([{ traceId }, { traceId }]);
  });

  test('a receiver is told nothing unless the setting says so, and the log knows the trace all the same', async () => {
    const inner = sender();
    const send = traceAttempts(inner, { tracer: null, sendTraceparent: false });
    expect(await send(dispatch(), never)).toMatchObject({ traceId: partsOf(emitted).traceId });
    expect(inner.told).toEqual([null]);
  });
});

describe('with a tracer', () => {
  test('the first attempt is part of the trace of the emit, and the receiver is told of the attempt', async () => {
    const [inner, spans] = [sender(), noteSpans(ours)];
    const send = traceAttempts(inner, { tracer: spans, sendTraceparent: true });
    expect(await send(dispatch(), never)).toMatchObject({ traceId: partsOf(ours).traceId });
    expect(spans.spans[0]?.start).toMatchObject({
      name: 'posthorn attempt',
      kind: 'CLIENT',
      parent: emitted,
      link: null,
    });
    expect(inner.told).toEqual([ours]);
  });

  test.each<[string, Partial<Dispatch>]>([
    ['a retry', { attemptNumber: 2 }],
    ['a resend', { attemptNumber: 3, trigger: 'MANUAL' }],
    ['a replay to a webhook that never got the event', { attemptNumber: 1, trigger: 'MANUAL' }],
  ])('%s begins a trace of its own, with a link to the emit', async (_what, changes) => {
    const spans = noteSpans(ours);
    await traceAttempts(sender(), { tracer: spans, sendTraceparent: false })(dispatch(changes), never);
    expect(spans.spans[0]?.start).toMatchObject({ parent: null, link: emitted });
  });

  test('a span says whose attempt it was, where to, and what came of it', async () => {
    const spans = noteSpans(ours);
    const send = traceAttempts(sender(answered(503)), { tracer: spans, sendTraceparent: false });
    const given = dispatch({ attemptNumber: 2, headers: [{ name: 'authorization', value: 'geheim' }] });
    await send(given, never);
    expect(spans.spans[0]?.start.attributes).toEqual({
      'posthorn.project.id': given.projectId,
      'posthorn.webhook.id': given.webhookId,
      'posthorn.event.id': given.eventId,
      'posthorn.event.type': 'config.deployed',
      'posthorn.delivery.id': given.deliveryId,
      'posthorn.attempt.number': 2,
      'posthorn.attempt.trigger': 'AUTOMATIC',
      'http.request.method': 'POST',
      'http.request.resend_count': 1,
      'server.address': 'user.example',
      'server.port': 443,
    });
    expect(spans.spans[0]?.ends).toEqual([
      {
        attributes: {
          'http.response.status_code': 503,
          'error.type': '503',
          'posthorn.attempt.connect_ms': 0.4,
          'posthorn.attempt.first_byte_ms': 11.9,
        },
        failed: true,
      },
    ]);
    expect(JSON.stringify(spans.spans)).not.toMatch(/geheim|secret-path/);
  });

  test('a receiver that does not answer fails the span with its error code', async () => {
    const spans = noteSpans(ours);
    await traceAttempts(sender(unanswered('TIMEOUT')), { tracer: spans, sendTraceparent: false })(dispatch(), never);
    expect(spans.spans[0]?.ends).toMatchObject([{ attributes: { 'error.type': 'TIMEOUT' }, failed: true }]);
  });

  test('an attempt that is broken off ends its span, and rejects as before', async () => {
    const spans = noteSpans(ours);
    const send = traceAttempts(sender(new Error('stopping')), { tracer: spans, sendTraceparent: false });
    await expect(send(dispatch(), never)).rejects.toThrow('stopping');
    expect(spans.spans[0]?.ends).toMatchObject([{ attributes: { 'error.type': 'INTERRUPTED' }, failed: true }]);
  });
});
