import { createServer } from 'node:http';
import { once } from 'node:events';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { dependenciesOf } from '../../src/metrics/dependencies.ts';
import { createMetrics } from '../../src/metrics/metrics.ts';
import { startOperationsServer } from '../../src/operations/operations-server.ts';
import { Secret } from '../../src/secret.ts';
import { parseExposition, sumOf } from '../support/exposition.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';
import { openWorkerFixture } from '../support/worker-fixture.ts';
import type { AddressInfo } from 'node:net';
import type { Dependencies } from '../../src/metrics/dependencies.ts';
import type { OperationsOptions } from '../../src/operations/operations-routes.ts';
import type { OperationsServer } from '../../src/operations/operations-server.ts';
import type { MetricFamily } from '../support/exposition.ts';
import type { WorkerFixture } from '../support/worker-fixture.ts';

const never = async (): Promise<never> => await new Promise(() => {});
const away = async (): Promise<never> => {
  throw new Error('password=hunter2');
};
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const fine = async (): Promise<void> => {};

async function start(options: Partial<OperationsOptions> = {}, port = 0): Promise<OperationsServer> {
  return await startOperationsServer({
    checks: { database: fine, queue: fine, feed: fine },
    readyCheckMs: 50,
    metrics: null,
    logger: pino({ enabled: false }),
    host: '127.0.0.1',
    port,
    ...options,
  });
}

async function ask(server: OperationsServer, path: string, headers: Record<string, string> = {}) {
  const response = await fetch(`${server.url}${path}`, { headers });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

describe("a worker's own port", () => {
  test('is not ready before the worker serves nor after it stops, and lives all the while', async () => {
    await using server = await start();
    const seen: unknown[] = [];
    for (const phase of ['starting', 'serving', 'stopping'] as const) {
      server.enter(phase);
      const { status, text } = await ask(server, '/ready');
      seen.push([status, JSON.parse(text).status, (await ask(server, '/health')).status]);
    }
    expect(seen).toEqual([
      [503, 'starting', 200],
      [200, 'ready', 200],
      [503, 'stopping', 200],
    ]);
  });

  test('says which dependency does not answer, and never why', async () => {
    await using server = await start({ checks: { database: away, queue: never, feed: fine } });
    server.enter('serving');
    const { status, text } = await ask(server, '/ready');
    expect(status).toBe(503);
    expect(JSON.parse(text)).toEqual({
      status: 'not ready',
      checks: { database: 'failed', queue: 'timeout', feed: 'ok' },
    });
  });

  test('asks its dependencies once, however many want to know at the same time', async () => {
    let askedCount = 0;
    const { promise: answered, resolve } = Promise.withResolvers<void>();
    const database = async (): Promise<void> => {
      askedCount += 1;
      await answered;
    };
    await using server = await start({ checks: { database, queue: fine, feed: fine }, readyCheckMs: 10_000 });
    server.enter('serving');
    const answers = Array.from({ length: 20 }, async () => await ask(server, '/ready'));
    await vi.waitFor(() => expect(askedCount).toBe(1));
    resolve();
    expect((await Promise.all(answers)).map(({ status }) => status)).toEqual(Array(20).fill(200));
    expect(askedCount).toBeLessThan(20);
  });

  test('logs what a dependency fails with once, however often somebody asks, until it has answered', async () => {
    const lines: unknown[] = [];
    const logger = pino({ level: 'warn' }, { write: (line) => void lines.push(JSON.parse(line)) });
    let queue: () => Promise<void> = away;
    const checks = { database: fine, queue: async () => await queue(), feed: fine };
    await using server = await start({ checks, logger });
    server.enter('serving');
    const askTwice = async (): Promise<void> => {
      for (let count = 0; count < 2; count += 1) await ask(server, '/ready');
    };
    await askTwice();
    expect(lines).toMatchObject([{ check: 'queue', msg: 'a readiness check failed' }]);
    queue = fine;
    await askTwice();
    queue = away;
    await askTwice();
    expect(lines).toHaveLength(2);
  });

  test('gives the metrics only to who has the token', async () => {
    const page = { contentType: 'text/plain; version=0.0.4; charset=utf-8', read: async () => 'a 1\n' };
    await using server = await start({ metrics: { page, token: new Secret('open-sesame') } });
    const given = await ask(server, '/metrics', bearer('open-sesame'));
    expect([given.status, given.headers.get('content-type'), given.text]).toEqual([200, page.contentType, 'a 1\n']);
    for (const headers of [{}, bearer('open'), bearer('open-sesame-'), { authorization: 'Basic open-sesame' }]) {
      const refused = await ask(server, '/metrics', headers);
      expect(refused.status).toBe(401);
      expect(refused.headers.get('www-authenticate')).toBe('Bearer');
      expect(refused.text).not.toContain('sesame');
    }
  });

  test('gives a page that fails as an error that only the log explains', async () => {
    await using server = await start({ metrics: { page: { contentType: 'text/plain', read: away }, token: null } });
    const { status, text, headers } = await ask(server, '/metrics', { 'x-request-id': 'mine' });
    expect(status).toBe(500);
    expect(headers.get('x-request-id')).toBe('mine');
    expect(text).not.toContain('hunter2');
    expect((await ask(server, '/nothing')).status).toBe(404);
  });

  test('that is taken stops the start with one sentence', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    await expect(start({}, port)).rejects.toThrow(
      `Posthorn cannot listen on 127.0.0.1 port ${port}: something else listens there already.`,
    );
    other.close();
  });

  test('closes within a moment, though somebody keeps a connection open', async () => {
    const server = await start();
    await ask(server, '/health'); // kept alive by the client
    const startedAtMs = performance.now();
    await server[Symbol.asyncDispose]();
    expect(performance.now() - startedAtMs).toBeLessThan(5_000);
    await expect(ask(server, '/health')).rejects.toThrow('fetch failed');
  });
});

describe('the metrics of what a process depends on', () => {
  let fixture: WorkerFixture;
  let askedCount: number;

  beforeAll(async () => {
    fixture = await openWorkerFixture();
  });
  afterAll(async () => await fixture[Symbol.asyncDispose]());
  beforeEach(() => {
    askedCount = 0;
  });

  function readWith(changes: Partial<Dependencies> = {}): () => Promise<Map<string, MetricFamily>> {
    const { db, queue, feed } = fixture;
    const checks = { database: fine, queue: async () => await queue.ping(), feed: async () => await feed.ping() };
    const own = dependenciesOf({ checks, queue, pipelines: db, database: db, graceMs: 1_000 });
    const metrics = createMetrics({ version: '1', roles: 'worker', attemptTimeoutMs: 1_000 });
    const loadDeliveries = async () => {
      askedCount += 1;
      return await own.loadDeliveries();
    };
    metrics.watch({ ...own, loadDeliveries, ...changes });
    return async () => parseExposition(await metrics.page.read());
  }

  test('are counted in the database and the queue as they are', async () => {
    const webhookId = await addWebhook(fixture);
    const due = new Date(Date.now() - 60_000);
    await addDeliveries(fixture, webhookId, 3, { status: 'RETRYING', dueAt: due });
    await addDeliveries(fixture, webhookId, 2, { held: true });
    await addDeliveries(fixture, webhookId, 1, { status: 'DELIVERING', dueAt: due, claimedAt: due });
    await addDeliveries(fixture, webhookId, 4, { status: 'DELIVERED', finishedAt: due });
    await fixture.queue.enqueue([{ id: await addOne(webhookId), webhookId }], { delayMs: 3_600_000 });
    const families = await readWith()();
    const waiting = ['retrying', 'held', 'stuck'].map((state) =>
      sumOf(families, 'posthorn_deliveries_waiting', { state }),
    );
    expect(waiting).toEqual([3, 2, 1]);
    expect(sumOf(families, 'posthorn_deliveries_overdue')).toBe(4);
    expect(sumOf(families, 'posthorn_oldest_due_age_seconds')).toBeGreaterThanOrEqual(59);
    expect(sumOf(families, 'posthorn_oldest_due_age_seconds')).toBeLessThan(120);
    expect(sumOf(families, 'posthorn_webhooks', { status: 'ACTIVE' })).toBe(1);
    expect(sumOf(families, 'posthorn_queue_jobs', { state: 'delayed' })).toBe(1);
    expect(sumOf(families, 'posthorn_dependency_up')).toBe(3);
    expect(sumOf(families, 'posthorn_database_connections_max', { pool: 'pipeline' })).toBe(8);
    expect(sumOf(families, 'posthorn_scrape_errors_total')).toBe(0);
  });

  async function addOne(webhookId: Parameters<typeof addDeliveries>[1]) {
    const [id] = await addDeliveries(fixture, webhookId, 1, { dueAt: new Date(Date.now() + 3_600_000) });
    if (id === undefined) throw new Error('no delivery was made');
    return id;
  }

  test('are asked for once, however many read them', async () => {
    const read = readWith();
    const pages = await Promise.all(Array.from({ length: 20 }, read));
    expect(new Set(pages.map((page) => sumOf(page, 'posthorn_dependency_up')))).toEqual(new Set([3]));
    expect(askedCount).toBe(1);
  });

  test('are left out and counted as an error when their server is away or silent, and the page comes all the same', async () => {
    const checks = { database: away, queue: never, feed: fine };
    const startedAtMs = performance.now();
    const families = await readWith({ checks, loadDeliveries: away, countJobs: never, countWebhooks: away })();
    expect(performance.now() - startedAtMs).toBeLessThan(4_500);
    expect(sumOf(families, 'posthorn_dependency_up', { dependency: 'feed' })).toBe(1);
    expect(sumOf(families, 'posthorn_dependency_up')).toBe(1);
    for (const absent of [
      'deliveries_waiting',
      'deliveries_overdue',
      'oldest_due_age_seconds',
      'webhooks',
      'queue_jobs',
    ]) {
      expect(families.get(`posthorn_${absent}`)?.samples).toEqual([]);
    }
    const failed = families.get('posthorn_scrape_errors_total')?.samples.filter(({ value }) => value === 1);
    expect(failed?.map(({ labels }) => labels['source']).sort()).toEqual([
      'database',
      'deliveries',
      'jobs',
      'queue',
      'webhooks',
    ]);
  });
});
