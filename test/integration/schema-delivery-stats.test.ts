import type { Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { SchemaContext } from '../../schema/context.ts';
import { FairTurns } from '../../src/fair-turns.ts';
import { type DeliveryId, type ProjectId, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { openPool } from '../../src/store/pipelines.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addWebhook, type DeliveryColumns } from '../support/store-fixture.ts';

let fixture: SchemaFixture;
beforeAll(async () => {
  fixture = await openSchemaFixture();
});
afterAll(async () => await fixture[Symbol.asyncDispose]());
beforeEach(() => {
  fixture.statements.length = 0;
});

/** Deliveries as if they had been made then, each with attempts that took as long as said; the last one succeeded. */
async function addHistory(
  webhookId: WebhookId,
  createdAt: string,
  columns: DeliveryColumns,
  durationsMs: readonly number[] = [],
): Promise<DeliveryId> {
  const [id = '' as DeliveryId] = await addDeliveries(fixture, webhookId, 1, columns);
  const uuid = uuidOf(id);
  const { prisma, pipeline } = fixture.db;
  const moved = await pipeline.query<{ id: string }>(
    `update deliveries set created_at = $2,
       id = (substring(posthorn_uuid_at($2)::text for 19) || substring(id::text from 20))::uuid
     where id = $1 returning id`,
    [uuid, createdAt],
  );
  const data = durationsMs.map((durationMs, index) => ({
    id: newUuid(),
    deliveryId: moved.rows[0]?.id ?? '',
    number: index + 1,
    outcome: index === durationsMs.length - 1 ? ('SUCCEEDED' as const) : ('FAILED' as const),
    trigger: 'AUTOMATIC' as const,
    startedAt: new Date(createdAt),
    durationMs,
  }));
  await prisma.attempt.createMany({ data });
  return id;
}

const figures =
  'counts { total pending delivering delivered retrying failed skipped cancelled } attempts { total succeeded failed } latency { p50Ms p95Ms p99Ms }';
const none = { total: 0, pending: 0, delivering: 0, delivered: 0, retrying: 0, failed: 0, skipped: 0, cancelled: 0 };

describe('deliveryStats', () => {
  let first: WebhookId;
  let second: WebhookId;
  const range = { since: '2026-03-01T00:00:00Z', until: '2026-03-01T06:00:00Z' };
  const document = `query ($webhookIds: [ID!], $since: DateTime, $until: DateTime, $bucket: StatsBucket! = HOUR) {
    deliveryStats(webhookIds: $webhookIds, since: $since, until: $until, bucket: $bucket) {
      since until ${figures} series { start ${figures} }
    }
  }`;

  /** Variables; of webhookIds how many. */
  type Refused = Partial<typeof range> & { bucket?: string; webhookIds?: number };

  beforeAll(async () => {
    first = await addWebhook(fixture, { name: 'First' });
    second = await addWebhook(fixture, { name: 'Second' });
    await addHistory(first, '2026-03-01T00:00:00Z', { status: 'DELIVERED' }, [100, 10]);
    await addHistory(first, '2026-03-01T01:59:59.999Z', { status: 'FAILED' }, [20]);
    await addHistory(second, '2026-03-01T02:00:00Z', { status: 'RETRYING' }, [30, 40, 50]);
    await addHistory(second, '2026-03-01T05:59:59.999Z', { status: 'SKIPPED' });
    // Just outside.
    await addHistory(first, '2026-02-28T23:59:59.999Z', { status: 'DELIVERED' }, [9_999]);
    await addHistory(first, '2026-03-01T06:00:00Z', { status: 'DELIVERED' }, [9_999]);
  });

  test('counts what was created in the range by status, its attempts by outcome, and how long they took', async () => {
    const { data, errors } = await fixture.run(document, range);
    expect(errors).toEqual([]);
    expect(data.deliveryStats).toMatchObject({
      since: '2026-03-01T00:00:00.000Z',
      until: '2026-03-01T06:00:00.000Z',
      counts: { ...none, total: 4, delivered: 1, failed: 1, retrying: 1, skipped: 1 },
      attempts: { total: 6, succeeded: 3, failed: 3 },
      latency: { p50Ms: 30, p95Ms: 100, p99Ms: 100 },
    });
    expect(fixture.statements).toHaveLength(1);
  });

  test('gives every bucket of UTC, empty ones too, which add up to the whole', async () => {
    const { data } = await fixture.run(document, range);
    const { series, counts } = data.deliveryStats;
    expect(series.map(({ start }: { start: string }) => start)).toEqual(
      [0, 1, 2, 3, 4, 5].map((hour) => `2026-03-01T0${hour}:00:00.000Z`),
    );
    expect(series.map((bucket: { counts: { total: number } }) => bucket.counts.total)).toEqual([1, 1, 1, 0, 0, 1]);
    expect(series[3]).toMatchObject({ counts: none, attempts: { total: 0, succeeded: 0, failed: 0 }, latency: null });
    expect(series[2]).toMatchObject({ latency: { p50Ms: 40, p95Ms: 50, p99Ms: 50 } });
    expect(counts.total).toBe(4);
  });

  test('begins with the bucket that `since` lies in, and counts from `since` on', async () => {
    const since = '2026-03-01T00:00:00.001Z';
    const { data } = await fixture.run(document, { ...range, since, bucket: 'DAY' });
    expect(data.deliveryStats.series).toHaveLength(1);
    expect(data.deliveryStats.series[0]).toMatchObject({ start: '2026-03-01T00:00:00.000Z', counts: { total: 3 } });
  });

  test('covers the last 24 hours by hours unless told otherwise', async () => {
    const { data } = await fixture.run('{ deliveryStats { since until series { start } } }');
    const { since, until, series } = data.deliveryStats;
    expect(Date.parse(until) - Date.parse(since)).toBe(24 * 3_600_000);
    expect(Math.abs(Date.now() - Date.parse(until))).toBeLessThan(60_000);
    expect(series.length).toBeGreaterThanOrEqual(24);
  });

  test('is narrowed to webhooks, and of none counts nothing', async () => {
    const totals = [];
    for (const webhookIds of [[first], [second], [first, second], []]) {
      const { data } = await fixture.run(document, { ...range, webhookIds });
      totals.push(data.deliveryStats.counts.total);
    }
    expect(totals).toEqual([2, 2, 4, 0]);
  });

  test('is null for the latency of a range without attempts, and 0 for all else', async () => {
    const empty = { since: '2020-01-01T00:00:00Z', until: '2020-01-01T02:00:00Z' };
    const { data } = await fixture.run(document, empty);
    expect(data.deliveryStats).toMatchObject({ counts: none, latency: null, attempts: { total: 0 } });
    expect(data.deliveryStats.series).toHaveLength(2);
  });

  test.each<[Refused, string]>([
    [{ since: range.until, until: range.since }, 'since must be before until, 2026-03-01T00:00:00.000Z'],
    [{ ...range, until: '2026-03-01T16:41:00Z', bucket: 'MINUTE' }, 'bucket must be so long that'],
    [{ webhookIds: 101 }, 'webhookIds must be at most 100 long, not 101.'],
  ])('refuses %j as BAD_USER_INPUT that names the argument', async ({ webhookIds, ...variables }, message) => {
    const ids = Array.from({ length: webhookIds ?? 0 }, () => first);
    const { errors } = await fixture.run(document, { ...variables, ...(webhookIds && { webhookIds: ids }) });
    expect(errors).toMatchObject([{ code: 'BAD_USER_INPUT', message: expect.stringContaining(message) }]);
  });

  test('takes exactly 1,000 buckets', async () => {
    const { data, errors } = await fixture.run(document, { ...range, until: '2026-03-01T16:40:00Z', bucket: 'MINUTE' });
    expect(errors).toEqual([]);
    expect(data.deliveryStats.series).toHaveLength(1_000);
  });

  test('of a foreign webhook is NOT_FOUND', async () => {
    const stranger = fixture.contextOf(fixture.strangerId);
    const { errors } = await fixture.run(document, { webhookIds: [first] }, stranger);
    expect(errors).toMatchObject([{ code: 'NOT_FOUND' }]);
    const { data } = await fixture.run(document, range, stranger);
    expect(data.deliveryStats.counts.total).toBe(0);
  });

  test('is read without a sequential scan of deliveries or attempts', async () => {
    await fixture.run(document, range);
    await fixture.run(document, { ...range, webhookIds: [first, second] });
    const client = await fixture.db.reads.connect();
    await client.query('select pg_stat_force_next_flush()');
    client.release();
    const { rows } = await fixture.db.pipeline.query(
      `select coalesce(sum(seq_tup_read), 0)::int as read from pg_stat_user_tables where relname in ('deliveries', 'attempts')`,
    );
    expect(rows).toEqual([{ read: 0 }]);
  });
});

describe('a read that takes longer than its limit', () => {
  let reads: Pool;
  let slow: SchemaContext;

  beforeAll(async () => {
    const { pipeline } = fixture.db;
    await addDeliveries(fixture, await addWebhook(fixture), 1);
    // What reads find in place of the table takes far longer than the limit, however quick the machine is.
    await pipeline.query('create schema slow');
    await pipeline.query(
      `create view slow.deliveries as select * from public.deliveries where (select pg_sleep(60)::text) = ''`,
    );
    const { connectionString = '' } = fixture.db.reads.options;
    reads = openPool(connectionString, { max: 1, planning: ['search_path=slow,public'], statementTimeoutMs: 100 });
    slow = { ...fixture.contextOf(fixture.projectId), database: { ...fixture.db, reads } };
  });
  afterAll(async () => await reads.end());

  test.each([
    ['statistics', '{ deliveryStats { counts { total } } }', 'Ask for less with since and until'],
    [
      'a webhook’s',
      '{ webhooks(first: 1) { nodes { stats { counts { total } } } } }',
      'Ask for less with since and until',
    ],
    [
      'a filtered page',
      '{ deliveries(filter: { responseStatus: 418 }) { nodes { id } } }',
      'Narrow it with filter.since',
    ],
  ])('is QUERY_TOO_COMPLEX for %s, with advice', async (_what, document, advice) => {
    const { errors } = await fixture.run(document, {}, slow);
    expect(errors).toMatchObject([{ code: 'QUERY_TOO_COMPLEX', message: expect.stringContaining(advice) }]);
  });

  test('is null for a count', async () => {
    const { data, errors } = await fixture.run(
      '{ deliveries(first: 1) { totalCount nodes { __typename } } }',
      {},
      slow,
    );
    expect(errors).toEqual([]);
    expect(data).toEqual({ deliveries: { totalCount: null, nodes: [{ __typename: 'Delivery' }] } });
  });
});

test('a project that asks for slow pages only does not keep another one from its page', async () => {
  const { pipeline } = fixture.db;
  await addDeliveries(fixture, await addWebhook(fixture), 1);
  await pipeline.query('create schema slow_for_one');
  await pipeline.query(
    `create view slow_for_one.deliveries as select * from public.deliveries
     where case when project_id = '${uuidOf(fixture.projectId)}' then pg_sleep(60)::text = '' else true end`,
  );
  const { connectionString = '' } = fixture.db.reads.options;
  const reads = openPool(connectionString, {
    max: 4,
    planning: ['search_path=slow_for_one,public'],
    statementTimeoutMs: 2_000,
  });
  const run = async (projectId: ProjectId) => {
    const context = { ...fixture.contextOf(projectId), database: { ...fixture.db, reads } };
    return await fixture.run('{ deliveries(first: 1, filter: { responseStatus: 599 }) { nodes { id } } }', {}, context);
  };
  let endedCount = 0;
  const slow = Array.from({ length: 4 }, async () => {
    const { errors } = await run(fixture.projectId);
    endedCount += 1;
    return errors;
  });
  await expect.poll(() => reads.totalCount).toBe(2);
  expect(await run(fixture.strangerId)).toEqual({ data: { deliveries: { nodes: [] } }, errors: [] });
  expect(endedCount).toBe(0);
  for (const errors of await Promise.all(slow)) expect(errors).toMatchObject([{ code: 'QUERY_TOO_COMPLEX' }]);
  await reads.end();
}, 30_000);

test('more reads of a project than may wait are refused, with advice', async () => {
  const readTurns = new FairTurns({ atOnceMax: 1, perKeyMax: 1, waitingMax: 1, waitMsMax: 5_000 });
  const context = { ...fixture.contextOf(fixture.projectId), database: { ...fixture.db, readTurns } };
  const { errors } = await fixture.run(
    `{ a: deliveryStats { counts { total } } b: deliveries(filter: { responseStatus: 200 }) { nodes { id } }
      c: deliveries(filter: { responseStatus: 201 }) { nodes { id } } }`,
    {},
    context,
  );
  expect(errors).toMatchObject([{ code: 'QUERY_TOO_COMPLEX', message: expect.stringContaining('Ask for fewer') }]);
});

describe('stats of a webhook', () => {
  const document = `query ($first: Int!) { webhooks(first: $first) { nodes {
    id stats(bucket: DAY) { counts { total delivered } latency { p50Ms } series { counts { total } } }
  } } }`;

  test('costs one statement for a whole page of webhooks, and tells them apart', async () => {
    const ids: WebhookId[] = [];
    for (let index = 0; index < 50; index += 1) {
      const id = await addWebhook(fixture, { name: `Stats ${index}` });
      ids.push(id);
      await addDeliveries(fixture, id, index % 3, { status: 'DELIVERED' });
    }
    fixture.statements.length = 0;
    await fixture.run(document, { first: 1 });
    const one = fixture.statements.splice(0).length;
    const { data, errors } = await fixture.run(document, { first: 50 });
    expect(errors).toEqual([]);
    expect([one, fixture.statements.length]).toEqual([2, 2]);
    for (const { id, stats } of data.webhooks.nodes) {
      const expected = ids.indexOf(id) % 3;
      expect(stats.counts).toEqual({ total: expected, delivered: expected });
      expect(stats.series.at(-1).counts.total).toBe(expected);
    }
  });

  test('has at most 100 buckets', async () => {
    const { errors } = await fixture.run('{ webhooks(first: 1) { nodes { stats(bucket: MINUTE) { since } } } }');
    expect(errors).toMatchObject([{ code: 'BAD_USER_INPUT', message: expect.stringContaining('at most 100') }]);
  });
});
