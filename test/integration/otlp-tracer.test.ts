import { describe, expect, test } from 'vitest';
import { findTraceParent, partsOf } from '../../src/domain/trace-parent.ts';
import { Secret } from '../../src/secret.ts';
import { startOtlpTracer } from '../../src/tracing/otlp-tracer.ts';
import { startCollector } from '../support/collector.ts';
import { startRawReceiver } from '../support/receiver.ts';
import type { TraceParent } from '../../src/domain/trace-parent.ts';
import type { TracingSettings } from '../../src/tracing/otlp-tracer.ts';
import type { Span, SpanStart, Tracer } from '../../src/tracing/tracer.ts';
import type { CollectedSpan, Collector } from '../support/collector.ts';

/** The tracer's own limit is three seconds. */
const stopLimitMs = 5_000;
/** A port on which nothing listens. */
const nobody = 'http://127.0.0.1:1';

interface Watched {
  failures: unknown[];
  recoveries: number;
}

function startTracer(
  url: string,
  changes: Partial<TracingSettings> = {},
): Tracer & AsyncDisposable & { watched: Watched } {
  const watched: Watched = { failures: [], recoveries: 0 };
  const settings = {
    tracesUrl: new Secret(`${url}/v1/traces`),
    headers: new Secret({ authorization: 'Bearer geheim' }),
    serviceName: 'hooks',
    sampledShare: 1,
    ...changes,
  };
  const onFailing = (error: unknown): void => void watched.failures.push(error);
  const onRecovered = (): void => void (watched.recoveries += 1);
  const tracer = startOtlpTracer({ settings, version: '1.2.3', instanceId: 'one', onFailing, onRecovered });
  return { ...tracer, watched };
}

function begin(tracer: Tracer, changes: Partial<SpanStart> = {}): Span {
  const start: SpanStart = {
    name: 'begun',
    kind: 'SERVER',
    parent: null,
    link: null,
    attributes: {},
    startedAtMs: performance.now(),
  };
  return tracer.start({ ...start, ...changes });
}

/** Begins and ends a span. */
function make(tracer: Tracer, changes: Partial<SpanStart> = {}): TraceParent {
  const span = begin(tracer, changes);
  span.end({ attributes: {}, failed: false });
  return span.traceParent;
}

function placeOf(text: string): TraceParent {
  const place = findTraceParent(text);
  if (place === null) throw new Error(`${text} is no traceparent`);
  return place;
}

const [recorded, unrecorded] = ['01', '00'].map((flags) =>
  placeOf(`00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-${flags}`),
) as [TraceParent, TraceParent];

/** What the collector has once the tracer has stopped. */
async function collect(collector: Collector, trace: (tracer: Tracer) => void, share = 1): Promise<CollectedSpan[]> {
  const tracer = startTracer(collector.url, { sampledShare: share });
  trace(tracer);
  await tracer[Symbol.asyncDispose]();
  return collector.spans();
}

describe('a tracer', () => {
  test('sends what has ended, when it stops at the latest, with what was said of it and of the process', async () => {
    await using collector = await startCollector();
    const spans = await collect(collector, (tracer) => {
      const startedAtMs = performance.now() - 100;
      const span = begin(tracer, { kind: 'CLIENT', parent: recorded, attributes: { a: 1, b: undefined }, startedAtMs });
      span.end({ name: 'ended', attributes: { c: 'x'.repeat(1_000) }, failed: true });
      span.end({ attributes: { d: true }, failed: false });
      begin(tracer); // never ended
    });
    expect(spans).toMatchObject([
      { traceId: partsOf(recorded).traceId, parentSpanId: partsOf(recorded).spanId, name: 'ended', kind: 3 },
    ]);
    expect(spans[0]?.attributes).toEqual({ a: 1, c: 'x'.repeat(256) });
    expect(spans[0]?.statusCode).toBe(2);
    expect(spans[0]?.durationMs).toBeGreaterThanOrEqual(100);
    expect(spans[0]?.durationMs).toBeLessThan(10_000);
    expect(spans[0]?.resource).toMatchObject({
      'service.name': 'hooks',
      'service.version': '1.2.3',
      'service.instance.id': 'one',
    });
    expect(collector.receiver.requests).toMatchObject([
      { path: '/v1/traces', headers: { authorization: 'Bearer geheim', 'content-type': 'application/json' } },
    ]);
  });

  test('begins a trace where there is no parent, with a link to what it follows from', async () => {
    await using collector = await startCollector();
    let made: TraceParent | null = null;
    const [span] = await collect(collector, (tracer) => (made = make(tracer, { link: recorded })));
    const { traceId, spanId } = partsOf(recorded);
    expect(span).toMatchObject({ parentSpanId: '', links: [{ traceId, spanId }] });
    expect(span?.traceId).not.toBe(traceId);
    expect(made).toBe(`00-${span?.traceId}-${span?.spanId}-01`);
  });

  test('records what its parent or its link records, whatever the share, and of the rest the share', async () => {
    await using collector = await startCollector();
    const none = await collect(
      collector,
      (tracer) => {
        expect(partsOf(make(tracer)).flags).toBe(0);
        make(tracer, { name: 'child', parent: recorded });
        make(tracer, { name: 'follower', link: recorded });
      },
      0,
    );
    expect(none.map(({ name }) => name)).toEqual(['child', 'follower']);
    const all = await collect(collector, (tracer) => {
      expect(make(tracer, { parent: unrecorded })).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-.*-00$/);
      make(tracer, { link: unrecorded });
      make(tracer, { name: 'root' });
    });
    expect(all.slice(2).map(({ name }) => name)).toEqual(['root']);
  });
});

describe('a collector that', () => {
  test('is not there loses spans, is told of once, and does not keep the tracer from stopping', async () => {
    const tracer = startTracer(nobody);
    for (let count = 0; count < 20_000; count += 1) make(tracer);
    const stoppedAt = performance.now();
    await tracer[Symbol.asyncDispose]();
    expect(performance.now() - stoppedAt).toBeLessThan(stopLimitMs);
    expect(tracer.watched.failures).toHaveLength(1);
    expect(String(tracer.watched.failures[0])).not.toContain('geheim');
  });

  test('never answers does not keep it either', async () => {
    await using silent = await startRawReceiver(() => {});
    const tracer = startTracer(silent.url);
    make(tracer);
    const stoppedAt = performance.now();
    await tracer[Symbol.asyncDispose]();
    expect(performance.now() - stoppedAt).toBeLessThan(stopLimitMs);
  });

  test('never ends its answer is cut off', async () => {
    const { promise: cut, resolve } = Promise.withResolvers<string>();
    await using dripping = await startRawReceiver((socket) => {
      socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n');
      const drip = setInterval(() => socket.write('1\r\n \r\n'), 100);
      socket.once('close', () => {
        clearInterval(drip);
        resolve('cut');
      });
    });
    const tracer = startTracer(dripping.url);
    make(tracer);
    const stoppedAt = performance.now();
    await tracer[Symbol.asyncDispose]();
    expect(performance.now() - stoppedAt).toBeLessThan(stopLimitMs);
    expect(await cut).toBe('cut');
  });

  test('comes back gets what is new', async () => {
    let isAway = true;
    await using collector = await startCollector(() => (isAway ? { status: 400 } : { body: '{}' }));
    await using tracer = startTracer(collector.url);
    for (let count = 0; count < 600; count += 1) make(tracer); // a full batch goes at once
    await expect.poll(() => tracer.watched.failures.length).toBe(1);
    isAway = false;
    const name = 'after it came back';
    make(tracer, { name });
    await collector.untilSpan(name, (span) => span.name === name);
    await expect.poll(() => tracer.watched.recoveries).toBe(1);
    expect(tracer.watched.failures).toHaveLength(1);
  });
});
