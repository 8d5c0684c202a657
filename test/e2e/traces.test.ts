import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWebhook, emitOne, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import { createStack, deploy, startOn } from '../support/e2e-stack.ts';
import { startCollector } from '../support/collector.ts';
import { startReceiver } from '../support/receiver.ts';
import type { Collector } from '../support/collector.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';

const outside = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' };
const traceparent = `00-${outside.traceId}-${outside.spanId}-01`;
/** The limits of the tracer and of what else stops, and some. */
const stopLimitMs = 10_000;
/** A port on which nothing listens. */
const nobody = 'http://127.0.0.1:1';
const preload = pathToFileURL('test/support/loaded-packages-process.ts').href;

/** Emits an event as a product does that is traced itself. */
async function emitTraced(posthorn: RunningPosthorn, type: string): Promise<void> {
  await using client = createApiClient(posthorn, posthorn.apiKey, 'Bearer', { traceparent });
  await emitOne(client, type);
}

/** The attempt log lines about the event type's webhook. */
function attemptLines(posthorn: RunningPosthorn, webhookId: string): Record<string, unknown>[] {
  const lines = posthorn.output().split('\n');
  return lines
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter((line) => line['msg'] === 'attempt' && line['webhookId'] === webhookId);
}

describe('a gateway and workers with a collector', () => {
  let collector: Collector;
  let posthorn: RunningPosthorn;
  let client: ApiClient;

  beforeAll(async () => {
    collector = await startCollector();
    posthorn = await deploy('gateway and workers on redis', {
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20geheim',
      WEBHOOK_SEND_TRACEPARENT: 'true',
      LOG_LEVEL: 'info',
    });
    client = createApiClient(posthorn, posthorn.apiKey);
  });
  afterAll(async () => {
    await client?.[Symbol.asyncDispose]();
    await posthorn?.[Symbol.asyncDispose]();
    await collector?.[Symbol.asyncDispose]();
  });

  test('one trace goes from the caller through the operation and the attempt to the receiver', async () => {
    await using receiver = await startReceiver();
    const { webhook, eventType } = await createWebhook(client, 'Traced', {
      url: `${receiver.url}/geheim?key=geheim`,
      headers: [{ name: 'x-key', value: 'geheim' }],
    });
    await emitTraced(posthorn, eventType);
    const [request] = await receiver.waitFor(1);
    const attempt = await collector.untilSpan(
      'the attempt',
      ({ attributes }) => attributes['posthorn.webhook.id'] === webhook.id,
    );
    const operation = await collector.untilSpan('the operation', ({ spanId }) => spanId === attempt.parentSpanId);
    expect(operation).toMatchObject({
      traceId: outside.traceId,
      parentSpanId: outside.spanId,
      name: 'mutation',
      kind: 2,
    });
    expect(attempt).toMatchObject({
      traceId: outside.traceId,
      name: 'posthorn attempt',
      kind: 3,
      links: [],
      statusCode: 0,
    });
    expect(attempt.attributes).toMatchObject({ 'http.response.status_code': 200, 'posthorn.attempt.number': 1 });
    expect(attempt.resource['service.instance.id']).not.toBe(operation.resource['service.instance.id']);
    expect(request?.headers['traceparent']).toBe(`00-${outside.traceId}-${attempt.spanId}-01`);
    await expect.poll(() => attemptLines(posthorn, webhook.id)).toMatchObject([{ traceId: outside.traceId }]);
    expect(posthorn.output()).toMatch(/"operationName":"EmitEvent".*"traceId":"0af7651916cd43dd8448eb211c80319c"/);
    expect(collector.receiver.requests[0]?.headers['authorization']).toBe('Bearer geheim');
    expect(JSON.stringify(collector.spans())).not.toContain('geheim');
    expect(posthorn.output()).not.toContain('geheim');
  });

  test('a retry begins a trace that links to the emit', async () => {
    await using receiver = await startReceiver((_request, index) => ({ status: index === 0 ? 500 : 200 }));
    const { webhook, eventType } = await createWebhook(client, 'Retried', { url: receiver.url });
    await emitTraced(posthorn, eventType);
    const [, second] = await receiver.waitFor(2);
    const [first, retry] = await Promise.all(
      [1, 2].map(async (number) =>
        collector.untilSpan(
          `attempt ${number}`,
          ({ attributes }) =>
            attributes['posthorn.webhook.id'] === webhook.id &&
            Number(attributes['posthorn.attempt.number']) === number,
        ),
      ),
    );
    expect(first).toMatchObject({ traceId: outside.traceId, statusCode: 2 });
    expect(first?.attributes).toMatchObject({ 'http.response.status_code': 500, 'error.type': '500' });
    expect(retry).toMatchObject({
      parentSpanId: '',
      links: [{ traceId: outside.traceId, spanId: first?.parentSpanId }],
    });
    expect(second?.headers['traceparent']).toBe(`00-${retry?.traceId}-${retry?.spanId}-01`);
  });

  test('a webhook cannot have a traceparent of its own', async () => {
    const made = createWebhook(client, 'Own', {
      url: 'http://127.0.0.1:9/',
      headers: [{ name: 'Traceparent', value: 'x' }],
    });
    await expect(made).rejects.toThrow('INVALID_HEADER_NAME');
  });
});

test('a collector that is away changes nothing but for one warning, and does not hold up the stop', async () => {
  await using receiver = await startReceiver();
  await using stack = await createStack('embedded', {
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${nobody}/geheim`,
    OTEL_EXPORTER_OTLP_HEADERS: 'authorization=geheim',
  });
  await using posthorn = await startOn(stack);
  await using client = createApiClient(posthorn, posthorn.apiKey);
  const { eventType } = await createWebhook(client, 'Dead collector', { url: receiver.url });
  await untilStatus(client, await emitOne(client, eventType), 'DELIVERED');
  const warning = /the collector takes no traces/g;
  await expect.poll(posthorn.output, { timeout: stopLimitMs }).toMatch(warning);
  await untilStatus(client, await emitOne(client, eventType), 'DELIVERED');
  const stoppedAt = performance.now();
  expect(await posthorn.end('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(performance.now() - stoppedAt).toBeLessThan(stopLimitMs);
  expect(posthorn.output().match(warning)).toHaveLength(1);
  expect(posthorn.output()).not.toContain('geheim');
});

test.each([
  // prom-client brings the package `api`, which does nothing by itself.
  ['without an endpoint nothing of OpenTelemetry is loaded', {}, /^(?!.*loaded @opentelemetry\/(?!api\b))/s],
  ['with an endpoint its SDK is', { OTEL_EXPORTER_OTLP_ENDPOINT: nobody }, /loaded @opentelemetry\/sdk-trace/],
])('%s', async (_what, env, expected) => {
  await using receiver = await startReceiver();
  await using stack = await createStack('embedded', { ...env, NODE_OPTIONS: `--import=${preload}` });
  await using posthorn = await startOn(stack);
  await using client = createApiClient(posthorn, posthorn.apiKey);
  const { eventType } = await createWebhook(client, 'Loaded', { url: receiver.url });
  await untilStatus(client, await emitOne(client, eventType), 'DELIVERED');
  expect(posthorn.output()).toMatch(expected);
});

test('without a collector a receiver is told of the trace of the caller, at every attempt', async () => {
  await using receiver = await startReceiver((_request, index) => ({ status: index === 0 ? 500 : 200 }));
  await using posthorn = await deploy('embedded', { WEBHOOK_SEND_TRACEPARENT: 'true' });
  await using client = createApiClient(posthorn, posthorn.apiKey);
  const { eventType } = await createWebhook(client, 'Passed on', { url: receiver.url });
  await emitTraced(posthorn, eventType);
  const told = (await receiver.waitFor(2)).map(({ headers }) => headers['traceparent'] ?? '');
  for (const place of told) expect(place).toMatch(/^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$/);
  expect(new Set([...told, traceparent]).size).toBe(3);
});
