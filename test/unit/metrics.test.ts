import { randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { decide } from '../../src/domain/delivery.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { createMetrics } from '../../src/metrics/metrics.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { parseExposition, sumOf } from '../support/exposition.ts';
import { entriesOf, entryOf, newProjectId } from '../support/feed.ts';
import { readMetricTable } from '../support/metric-table.ts';
import { answered, unanswered } from '../support/send-result.ts';
import type { MetricFamily } from '../support/exposition.ts';
import type { Dispatch, SendResult } from '../../src/domain/delivery.ts';
import type { FeedChange, FeedEntry } from '../../src/feed/feed.ts';
import type { Metrics } from '../../src/metrics/metrics.ts';
import type { EmitInput, EmitResult } from '../../src/store/emit-event.ts';
import type { DeliveryChange } from '../../worker/deliver.ts';

let metrics: Metrics;

beforeEach(() => {
  metrics = createMetrics({ version: '1.2.3', roles: 'gateway,worker', attemptTimeoutMs: 2_000 });
});

/** What is there now. A page is given again for a second, so each test reads once. */
async function read(): Promise<Map<string, MetricFamily>> {
  return parseExposition(await metrics.page.read());
}

function changeOf(result: SendResult, changes: Partial<Dispatch> = {}, decided = true): DeliveryChange {
  const dispatch = dispatchTo('http://127.0.0.1/', changes);
  const decision = decide(dispatch, result, 0.5);
  const delivery = {
    status: 'RETRYING',
    attemptCount: 1,
    dueAt: null,
    finishedAt: null,
    failureReason: null,
  } as const;
  const attemptId = idFromUuid('attempt', randomUUID());
  return { dispatch, result, decision, recorded: { attemptId, decided, delivery, exhausted: null } };
}

function deliveryEntry(change: FeedChange, failureReason: string | null): FeedEntry {
  return { ...entryOf(change), change, delivery: { failureReason } } as FeedEntry;
}

describe('the metrics of a process', () => {
  test('are a text that Prometheus can read, and say what runs', async () => {
    const families = await read();
    expect(metrics.page.contentType).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(sumOf(families, 'posthorn_build_info', { version: '1.2.3', roles: 'gateway,worker' })).toBe(1);
    expect(sumOf(families, 'process_resident_memory_bytes')).toBeGreaterThan(1e7);
  });

  test('are named by one rule: a prefix, base units, and `_total` for what is counted', async () => {
    const own = [...(await read()).values()].filter(({ name }) => !/^(process|nodejs)_/.test(name));
    expect(own.length).toBeGreaterThan(25);
    expect(own.filter(({ name }) => !name.startsWith('posthorn_'))).toEqual([]);
    expect(own.filter(({ name, type }) => (type === 'counter') !== name.endsWith('_total'))).toEqual([]);
    expect(own.filter(({ name, type }) => type === 'histogram' && !name.endsWith('_seconds'))).toEqual([]);
    expect(own.filter(({ name }) => /_(ms|millis|milliseconds|minutes|kb|mb)(_|$)/.test(name))).toEqual([]);
  });

  test('are all in the table of the README, with their types', async () => {
    const own = [...(await read()).values()].filter(({ name }) => name.startsWith('posthorn_'));
    const table = await readMetricTable();
    expect(table.map(({ name, type }) => `${name} ${type}`).sort()).toEqual(
      own.map(({ name, type }) => `${name} ${type}`).sort(),
    );
  });

  test('two processes, or tests, in one have nothing in common', async () => {
    createMetrics({ version: '1', roles: 'worker', attemptTimeoutMs: 1_000 }).worker.parked();
    expect(sumOf(await read(), 'posthorn_deliveries_parked_total')).toBe(0);
  });
});

describe('what the worker does', () => {
  test('attempts are counted by outcome and error, and timed up to the deadline', async () => {
    metrics.worker.attempted(changeOf(answered(204)));
    metrics.worker.attempted(changeOf(answered(503)));
    metrics.worker.attempted(changeOf(answered(301)));
    metrics.worker.attempted(changeOf(unanswered('TIMEOUT')));
    const families = await read();
    const attempts = 'posthorn_attempts_total';
    expect(sumOf(families, attempts, { outcome: 'SUCCEEDED', error: 'NONE' })).toBe(1);
    expect(sumOf(families, attempts, { outcome: 'FAILED', error: 'HTTP_5XX' })).toBe(1);
    expect(sumOf(families, attempts, { outcome: 'FAILED', error: 'HTTP_3XX' })).toBe(1);
    expect(sumOf(families, attempts, { outcome: 'FAILED', error: 'TIMEOUT' })).toBe(1);
    const duration = families.get('posthorn_attempt_duration_seconds');
    const bounds = new Set(duration?.samples.map(({ labels }) => labels['le']).filter((le) => le !== undefined));
    expect([...bounds].slice(-3)).toEqual(['1', '2', '+Inf']);
    expect(sumOf(families, 'posthorn_attempt_duration_seconds_sum')).toBeCloseTo(4 * 0.0123);
  });

  test('only first attempts say how long a delivery waited for one', async () => {
    const createdAt = new Date();
    const startedAt = new Date(createdAt.getTime() + 250);
    metrics.worker.attempted(changeOf({ ...answered(200), startedAt }, { createdAt, attemptNumber: 1 }));
    metrics.worker.attempted(changeOf({ ...answered(200), startedAt }, { createdAt, attemptNumber: 2 }));
    const families = await read();
    expect(sumOf(families, 'posthorn_first_attempt_wait_seconds_count')).toBe(1);
    expect(sumOf(families, 'posthorn_first_attempt_wait_seconds_sum')).toBe(0.25);
  });

  test('an attempt whose claim was lost is counted as that, too', async () => {
    metrics.worker.attempted(changeOf(answered(200), {}, false));
    metrics.worker.attempted(changeOf(answered(200)));
    expect(sumOf(await read(), 'posthorn_claims_lost_total')).toBe(1);
  });

  test('runs of what repeats are counted by how they ended, and end as they did', async () => {
    expect(await metrics.timeRun('sweep', async () => 7)).toBe(7);
    const failing = metrics.timeRun('cleanup', async () => {
      throw new Error('no');
    });
    await expect(failing).rejects.toThrow('no');
    const families = await read();
    expect(sumOf(families, 'posthorn_schedule_runs_total', { schedule: 'sweep', outcome: 'completed' })).toBe(1);
    expect(sumOf(families, 'posthorn_schedule_runs_total', { schedule: 'cleanup', outcome: 'failed' })).toBe(1);
    expect(sumOf(families, 'posthorn_schedule_run_duration_seconds_count')).toBe(2);
  });
});

describe('what the feed is told', () => {
  test('changes are counted, those that end a delivery by status and reason, whether or not the feed takes them', async () => {
    await using feed = createInProcessFeed();
    const metered = metrics.meterFeed(feed);
    const projectId = newProjectId();
    await metered.publish(projectId, [deliveryEntry('DELIVERED', null), deliveryEntry('RETRY_SCHEDULED', null)]);
    await feed[Symbol.asyncDispose]();
    await expect(metered.publish(projectId, [deliveryEntry('FAILED', 'GONE')])).rejects.toThrow('closed');
    const families = await read();
    expect(sumOf(families, 'posthorn_delivery_changes_total')).toBe(3);
    expect(sumOf(families, 'posthorn_deliveries_finished_total')).toBe(2);
    expect(sumOf(families, 'posthorn_deliveries_finished_total', { status: 'DELIVERED', reason: 'NONE' })).toBe(1);
    expect(sumOf(families, 'posthorn_deliveries_finished_total', { status: 'FAILED', reason: 'GONE' })).toBe(1);
    expect(sumOf(families, 'posthorn_feed_items_published_total')).toBe(2);
    expect(sumOf(families, 'posthorn_feed_publish_failures_total')).toBe(1);
  });

  test('the metered feed is the feed: what is published comes to its subscribers, who are counted', async () => {
    await using feed = metrics.meterFeed(createInProcessFeed());
    const projectId = newProjectId();
    const subscription = await feed.subscribe(projectId);
    const ended = await feed.subscribe(newProjectId());
    await ended.return?.();
    await feed.publish(projectId, entriesOf(1, 1));
    expect((await subscription.next()).value?.entry.eventType).toBe('1');
    expect(sumOf(await read(), 'posthorn_feed_subscribers')).toBe(1);
  });
});

describe('what the gateway does', () => {
  const operation = { transport: 'http', operationType: null, errorCodes: new Set<string>(), durationMs: 1 } as const;

  test('operations are counted by their first code, and no caller can make up a label', async () => {
    for (const codes of [[], ['NOT_FOUND', 'FORBIDDEN'], ['SOMETHING_NEW'], ['SOMETHING_ELSE']]) {
      metrics.gateway.operationEnded({ ...operation, errorCodes: new Set(codes) });
    }
    const families = await read();
    const samples = families.get('posthorn_graphql_operations_total')?.samples ?? [];
    expect(samples.map(({ labels, value }) => [labels['code'], value])).toEqual([
      ['OK', 1],
      ['NOT_FOUND', 1],
      ['OTHER', 2],
    ]);
    expect(sumOf(families, 'posthorn_graphql_operations_total', { type: 'none', transport: 'http' })).toBe(4);
  });

  test('connections are open until they are gone', async () => {
    metrics.gateway.connectionOpened('sse');
    metrics.gateway.connectionOpened('websocket')();
    metrics.gateway.slowReaderClosed();
    const families = await read();
    expect(sumOf(families, 'posthorn_connections_open', { transport: 'sse' })).toBe(1);
    expect(sumOf(families, 'posthorn_connections_open', { transport: 'websocket' })).toBe(0);
    expect(sumOf(families, 'posthorn_slow_readers_closed_total')).toBe(1);
  });

  test('events are counted by what became of them, a failure too', async () => {
    const outcomes: (EmitResult['kind'] | null)[] = ['stored', 'refused', null, 'stored'];
    const emit = metrics.meterEmitter(async () => {
      const kind = outcomes.shift();
      if (kind == null) throw new Error('the database is away');
      return { kind } as EmitResult;
    });
    const results = await Promise.allSettled([1, 2, 3, 4].map(async () => await emit({} as EmitInput)));
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    const families = await read();
    expect(sumOf(families, 'posthorn_events_total', { result: 'stored' })).toBe(2);
    expect(sumOf(families, 'posthorn_events_total', { result: 'refused' })).toBe(1);
    expect(sumOf(families, 'posthorn_events_total', { result: 'failed' })).toBe(1);
  });
});

test('nothing outside of src/metrics knows prom-client', async () => {
  const root = path.resolve(import.meta.dirname, '../..');
  const folders = ['src', 'schema', 'worker'];
  const files = (
    await Promise.all(
      folders.map(async (folder) =>
        (await readdir(path.join(root, folder), { recursive: true })).map((file) => path.join(folder, file)),
      ),
    )
  ).flat();
  const texts = files.filter((file) => file.endsWith('.ts'));
  const knowing = await Promise.all(
    texts.map(async (file) =>
      (await readFile(path.join(root, file), 'utf8')).includes("'prom-client'") ? file : null,
    ),
  );
  const found = knowing.filter((file) => file !== null);
  expect(found.length).toBeGreaterThan(3);
  expect(found.filter((file) => !file.startsWith('src/metrics/'))).toEqual([]);
});
