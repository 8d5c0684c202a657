import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWebhook, emitOne, untilStatus, watchFeed } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { deploy } from '../support/e2e-stack.ts';
import { mergeFamilies, parseExposition, sumOf } from '../support/exposition.ts';
import { readMetricTable } from '../support/metric-table.ts';
import { listExpressions, missingFrom } from '../support/promql.ts';
import { startReceiver } from '../support/receiver.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import type { MetricFamily } from '../support/exposition.ts';

type Families = Map<string, MetricFamily>;

const token = 'the-token-of-the-metrics';

describe('the metrics of a gateway and two workers', () => {
  let posthorn: RunningPosthorn;
  let client: ApiClient;
  let stack: AsyncDisposableStack;
  let gatewayUrl: string;
  let workerUrls: string[];

  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    const env = { WORKER_PORT: '0', POSTHORN_METRICS_TOKEN: token, LOG_LEVEL: 'info' };
    posthorn = stack.use(await deploy('gateway and workers on redis', env));
    client = stack.use(createApiClient(posthorn, posthorn.apiKey));
    gatewayUrl = posthorn.graphqlUrl.replace('/graphql', '');
    workerUrls = [...posthorn.output().matchAll(/tells how it is on (http:\S+)\.$/gm)].map(([, url]) => url ?? '');
  });

  afterAll(async () => await stack?.disposeAsync());

  /** What all processes say, as soon as it is what is waited for. */
  async function untilSaid(what: string, isSaid: (families: Families) => boolean): Promise<Families> {
    return await untilFound(what, async () => {
      const families = mergeFamilies(await Promise.all([gatewayUrl, ...workerUrls].map(read)));
      return isSaid(families) ? families : null;
    });
  }

  test('each has health, readiness and metrics, the workers on ports of their own', async () => {
    expect(workerUrls).toHaveLength(2);
    for (const url of [gatewayUrl, ...workerUrls]) {
      expect((await fetch(`${url}/health`)).status).toBe(200);
      const ready = await fetch(`${url}/ready`);
      expect(await ready.json()).toEqual({
        status: 'ready',
        checks: { database: 'ok', queue: 'ok', feed: 'ok' },
      });
      expect((await fetch(`${url}/metrics`)).status).toBe(401);
      expect(sumOf(await read(url), 'posthorn_dependency_up')).toBe(3);
    }
    expect(posthorn.output()).not.toContain(token);
  });

  test('what is delivered, retried and exhausted is counted once, by whichever process does it', async () => {
    await using good = await startReceiver();
    await using bad = await startReceiver(() => ({ status: 500 }));
    const before = await untilSaid('a first reading', () => true);
    const { eventType: goodType } = await createWebhook(client, 'Good', { url: good.url });
    const { eventType: badType } = await createWebhook(client, 'Bad', { url: bad.url, maxAttempts: 2 });
    const delivered = await Promise.all(Array.from({ length: 5 }, async () => await emitOne(client, goodType)));
    await Promise.all(delivered.map(async (id) => await untilStatus(client, id, 'DELIVERED')));
    await untilStatus(client, await emitOne(client, badType), 'FAILED');
    const grown = (families: Families, name: string, labels: Record<string, string>): number =>
      sumOf(families, name, labels) - sumOf(before, name, labels);
    const after = await untilSaid(
      'every end to be counted',
      (families) =>
        grown(families, 'posthorn_deliveries_finished_total', { reason: 'EXHAUSTED' }) === 1 &&
        grown(families, 'posthorn_deliveries_finished_total', { status: 'DELIVERED' }) >= 5,
    );
    expect(grown(after, 'posthorn_events_total', { result: 'stored' })).toBe(6);
    expect(grown(after, 'posthorn_deliveries_finished_total', { status: 'DELIVERED' })).toBe(5);
    expect(grown(after, 'posthorn_attempts_total', { outcome: 'SUCCEEDED', error: 'NONE' })).toBe(5);
    expect(grown(after, 'posthorn_attempts_total', { outcome: 'FAILED', error: 'HTTP_5XX' })).toBe(2);
    expect(grown(after, 'posthorn_delivery_changes_total', { change: 'RETRY_SCHEDULED' })).toBe(1);
    expect(grown(after, 'posthorn_first_attempt_wait_seconds_count', {})).toBe(6);
    expect(grown(after, 'posthorn_claims_total', { result: 'claimed' })).toBe(7);
  });

  test('each attempt and each operation is one line in the log, found by the request id that the answer had', async () => {
    await using receiver = await startReceiver();
    const { webhook, eventType } = await createWebhook(client, 'Logged', { url: receiver.url });
    const deliveryId = await emitOne(client, eventType);
    await untilStatus(client, deliveryId, 'DELIVERED');
    const asked = await fetch(posthorn.graphqlUrl, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-request-id': 'asked-by-a-test',
        authorization: `Bearer ${posthorn.apiKey}`,
      },
      body: JSON.stringify({ query: 'query Mine { project { id } }' }),
    });
    expect(asked.headers.get('x-request-id')).toBe('asked-by-a-test');
    const lines = await untilFound('both lines', async () => {
      const logged = linesOf(posthorn.output());
      const attempts = logged.filter((line) => line['msg'] === 'attempt' && line['deliveryId'] === deliveryId);
      const operations = logged.filter((line) => line['requestId'] === 'asked-by-a-test');
      return attempts.length > 0 && operations.length > 0 ? [...attempts, ...operations] : null;
    });
    expect(lines).toEqual([
      expect.objectContaining({
        webhookId: webhook.id,
        projectId: posthorn.projectId,
        eventType,
        attemptNumber: 1,
        trigger: 'AUTOMATIC',
        status: 'DELIVERED',
        responseStatus: 200,
        errorCode: null,
        durationMs: expect.any(Number),
      }),
      expect.objectContaining({
        msg: 'graphql operation',
        operationName: 'Mine',
        operationType: 'query',
        transport: 'http',
        projectId: posthorn.projectId,
        durationMs: expect.any(Number),
        errorCodes: [],
      }),
    ]);
  });

  test('everything that the alert rules, the dashboard and the README name is there, with the labels that they use', async () => {
    using feed = await watchFeed(client, []);
    await client.askOverWebsocket('{ project { id } }');
    await client.ask('{ nothing }');
    const families = await untilSaid('a subscriber and a completed sweep', (said) => {
      const sweeps = sumOf(said, 'posthorn_schedule_runs_total', { schedule: 'sweep', outcome: 'completed' });
      const retries = sumOf(said, 'posthorn_delivery_changes_total', { change: 'RETRY_SCHEDULED' });
      return sweeps > 0 && retries > 0 && sumOf(said, 'posthorn_feed_subscribers') > 0;
    });
    expect(feed).toBeDefined();
    const missing = [...(await listExpressions())].flatMap(([where, expression]) =>
      missingFrom(families, expression).map((what) => `${where}: ${what}`),
    );
    expect(missing).toEqual([]);
    for (const { name, labels } of await readMetricTable()) {
      const found = families.get(name)?.samples.flatMap((sample) => Object.keys(sample.labels)) ?? [];
      expect({ name, labels: [...new Set(found)].filter((label) => label !== 'le').sort() }).toEqual({
        name,
        labels: labels.toSorted(),
      });
    }
  });

  test('no label names a project, a webhook, or anything else of which there are many', async () => {
    const families = await untilSaid('a reading', () => true);
    const samples = [...families.values()].flatMap((family) => family.samples);
    const values = samples.flatMap(({ labels }) => Object.values(labels));
    expect(values.filter((value) => /(prj|wh|dlv|evt|key|att)_|https?:/.test(value))).toEqual([]);
    expect(samples.length).toBeLessThan(2_500);
  });

  test('a worker that stops says so until it has ended', async () => {
    await using hanging = await startReceiver(() => ({ hang: true }));
    const { eventType } = await createWebhook(client, 'Hanging', { url: hanging.url });
    await emitOne(client, eventType);
    await hanging.waitFor(1);
    for (const worker of posthorn.workers) worker.kill('SIGTERM');
    const said = await untilFound('the worker with the attempt to say that it stops', async () => {
      const answers = await Promise.all(workerUrls.map(async (url) => await statusOf(url)));
      return answers.find((answer) => answer !== null && answer !== 'ready') ?? null;
    });
    expect(said).toBe('stopping');
  });
});

async function read(url: string): Promise<Families> {
  const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } });
  if (!response.ok) throw new Error(`${url} answers ${response.status}: ${await response.text()}`);
  return parseExposition(await response.text());
}

/** What the process says of itself; null when it does not answer any more. */
async function statusOf(url: string): Promise<string | null> {
  const response = await fetch(`${url}/ready`).catch(() => null);
  return response === null ? null : ((await response.json()) as { status: string }).status;
}

function linesOf(output: string): Record<string, unknown>[] {
  const lines = output.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'));
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}
