import { randomBytes } from 'node:crypto';
import { isSuccess } from '../src/domain/delivery.ts';
import { placeInTraceOf, traceIdOf } from '../src/domain/trace-parent.ts';
import type { Dispatch, SendResult } from '../src/domain/delivery.ts';
import type { TraceParent } from '../src/domain/trace-parent.ts';
import type { Span, SpanAttributes, SpanEnd, Tracer } from '../src/tracing/tracer.ts';
import type { DeliverDeps } from './deliver.ts';
import type { Sender } from './send.ts';

/** What becomes of the traces that attempts are part of. */
export interface AttemptTracing {
  /** Null: attempts are not recorded as spans. */
  tracer: Tracer | null;
  /** Whether receivers are told. */
  sendTraceparent: boolean;
}

/**
 * Gives the sending of one attempt, which is a span from the call to the end of the answer. The first attempt is part of
 * the trace in which its event was emitted. A retry, a resend or a replay comes minutes to days later: it begins a trace
 * with a link to the emit, so that the first one is complete when its answer is. Source: OpenTelemetry Semantic
 * Conventions 1.45, "Messaging spans": who consumes a message links to its creation, and may be its child instead where
 * there is one message.
 * Claims and records are no spans: each is one statement for many deliveries of many traces; the time between an emit's
 * span and an attempt's is the wait for them and for the queue.
 */
export function traceAttempts(sender: Sender, { tracer, sendTraceparent }: AttemptTracing): DeliverDeps['send'] {
  return async (dispatch, signal) => {
    const span = tracer === null ? null : startAttempt(tracer, dispatch);
    const traceParent = span === null ? untracedPlace(dispatch, sendTraceparent) : span.traceParent;
    if (traceParent === null) return await sender.send(dispatch, signal);
    try {
      const result = await sender.send(dispatch, signal, sendTraceparent ? traceParent : null);
      span?.end(endOf(result));
      return { ...result, traceId: traceIdOf(traceParent) };
    } catch (error) {
      span?.end({ attributes: { 'error.type': 'INTERRUPTED' }, failed: true });
      throw error;
    }
  };
}

/** Without spans the trace id stays the emit's, whatever the attempt; who is called is another place in it. */
function untracedPlace({ traceParent }: Dispatch, sendTraceparent: boolean): TraceParent | null {
  if (traceParent === null || !sendTraceparent) return traceParent;
  return placeInTraceOf(traceParent, randomSpanId());
}

function randomSpanId(): string {
  const bytes = randomBytes(8);
  bytes[0] = (bytes[0] ?? 0) | 1; // all zeros would name no span
  return bytes.toString('hex');
}

function startAttempt(tracer: Tracer, dispatch: Dispatch): Span {
  const isFirst = dispatch.attemptNumber === 1 && dispatch.trigger !== 'MANUAL';
  return tracer.start({
    name: 'posthorn attempt',
    kind: 'CLIENT',
    parent: isFirst ? dispatch.traceParent : null,
    link: isFirst ? null : dispatch.traceParent,
    attributes: attributesOf(dispatch),
    startedAtMs: performance.now(),
  });
}

/** Of the URL only the host and port: receivers' paths and queries often are credentials. Names: Semantic Conventions 1.45. */
function attributesOf(dispatch: Dispatch): SpanAttributes {
  const url = URL.parse(dispatch.url);
  return {
    'posthorn.project.id': dispatch.projectId,
    'posthorn.webhook.id': dispatch.webhookId,
    'posthorn.event.id': dispatch.eventId,
    'posthorn.event.type': dispatch.eventType,
    'posthorn.delivery.id': dispatch.deliveryId,
    'posthorn.attempt.number': dispatch.attemptNumber,
    'posthorn.attempt.trigger': dispatch.trigger,
    'http.request.method': 'POST',
    'http.request.resend_count': dispatch.attemptNumber > 1 ? dispatch.attemptNumber - 1 : undefined,
    'server.address': url?.hostname,
    'server.port': url === null ? undefined : portOf(url),
  };
}

function portOf({ port, protocol }: URL): number {
  return port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port);
}

function endOf({ response, errorCode, timings }: SendResult): SpanEnd {
  const status = response?.status;
  const failed = status === undefined || !isSuccess(status);
  return {
    attributes: {
      'http.response.status_code': status,
      'error.type': failed ? (errorCode ?? String(status)) : undefined,
      'posthorn.attempt.dns_ms': timings.dnsMs ?? undefined,
      'posthorn.attempt.connect_ms': timings.connectMs ?? undefined,
      'posthorn.attempt.tls_ms': timings.tlsMs ?? undefined,
      'posthorn.attempt.first_byte_ms': timings.firstByteMs ?? undefined,
    },
    failed,
  };
}
