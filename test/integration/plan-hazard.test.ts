import { expect, test } from 'vitest';
import { uuidOf } from '../../src/domain/ids.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { upsertEventType } from '../../src/store/event-types.ts';
import { releaseHeldDeliveries, takeHeldDeliveries } from '../../src/store/held-deliveries.ts';
import { ledger } from '../../src/store/ledger.ts';
import { createRecorder } from '../../src/store/record-attempts.ts';
import { cancelRecovery } from '../../src/store/recoveries.ts';
import { stepRecovery } from '../../src/store/recovery-step.ts';
import { parkDeliveries } from '../../src/store/settle-unsendable.ts';
import { indexOpenDeliveries, listDue } from '../../src/store/sweep.ts';
import { passTime, someActor, startRecovery } from '../support/recovery.ts';
import { answered } from '../support/send-result.ts';
import { addWebhook, createTestClaimer, openStoreFixture } from '../support/store-fixture.ts';
import type { DeliveryId, ProjectId, WebhookId } from '../../src/domain/ids.ts';
import type { EmitInput } from '../../src/store/emit-event.ts';
import type { RecoveryFilter } from '../../src/store/recovery-scope.ts';
import type { Pool } from 'pg';
import type { StoreFixture } from '../support/store-fixture.ts';

// Sessions that first run on empty tables once kept sequential-scan plans for good: 500 inserts did 500 scans.

const deliveriesPerRound = 100;
const claimLeaseMs = 60_000;
/** Each delivery is looked up by park, claim, record and sweep; one walk through an index of 2,000 for each batch would add ten. */
const readsPerDeliveryMax = 16;

const hourOfHistory = { since: new Date(Date.now() - 7_200_000), until: new Date(Date.now() - 3_600_000) };
/** The ids of 7,200 deliveries and of those of two minutes about them, their rows, and the events of a tenth. */
const readsPerHourMax = 18_000;
/** 2,000 ids of the project, or up to that of each of three webhooks; their rows; what is resent, with events and webhooks. */
const readsPerStepMax = 8_000;

test('a database that was empty at the start is read row by row by the hot path, however it fills', async () => {
  const { scannedCount, readsPerDelivery, deliveredCount } = await coldStart(20);
  expect([scannedCount, deliveredCount]).toEqual([0, 20 * deliveriesPerRound]);
  expect(readsPerDelivery).toBeLessThan(readsPerDeliveryMax);
});

test('each statement of the hot path that was planned on empty tables looks its rows up by a key', async () => {
  await using fixture = await openStoreFixture();
  await fill(fixture, await addWebhook(fixture), 1);
  await emitTwiceBySchema(fixture);
  const plans = await plansOf(fixture.db.pipeline);
  expect([...plans.keys()].toSorted()).toEqual([
    'claim-deliveries',
    'earlier-events',
    'emit-events',
    'event-schemas',
    'load-webhook-settings',
    'record-attempts',
    'settle-unsendable',
    'take-held-deliveries',
  ]);
  const walks = [...plans].flatMap(([name, plan]) => walksOf(plan).map((table) => `${name} walks all of ${table}`));
  expect(walks).toEqual([]);
});

test('twenty cold starts on an empty database under load choose no plan that collapses', async () => {
  for (let start = 0; start < 20; start += 1) {
    const { scannedCount, readsPerDelivery, deliveredCount } = await coldStart(3);
    expect([scannedCount, deliveredCount]).toEqual([0, 3 * deliveriesPerRound]);
    expect(readsPerDelivery).toBeLessThan(readsPerDeliveryMax);
  }
}, 90_000);

test('a recovery of an hour reads that hour of 100,000 deliveries by way of an index, and a step its share of it', async () => {
  await using fixture = await openStoreFixture();
  const webhookIds = await fillHistory(fixture);
  for (const isAnalysed of [false, true]) {
    if (isAnalysed) await fixture.db.pipeline.query('analyze');
    for (const filter of [{}, { webhookIds }, { eventTypes: ['config.*'], failureReasons: ['GONE' as const] }]) {
      const { countReads, stepReads } = await readsOfRecovery(fixture, filter);
      expect(countReads.scanned + stepReads.scanned).toBe(0);
      expect(countReads.byIndex).toBeLessThan(readsPerHourMax);
      expect(stepReads.byIndex).toBeLessThan(readsPerStepMax);
    }
  }
}, 60_000);

/** What creating a recovery of the hour reads, and its first step. */
async function readsOfRecovery(fixture: StoreFixture, filter: Partial<RecoveryFilter>) {
  const before = await readRows(fixture);
  const id = await startRecovery(fixture, filter, hourOfHistory);
  const counted = await readRows(fixture);
  await passTime(fixture, id, 2_000);
  expect((await stepRecovery(fixture.db, { maxAttempts: 6 }, id)).kind).toBe('stepped');
  const stepped = await readRows(fixture);
  await cancelRecovery(fixture.db, fixture.projectId, someActor(), id);
  return { countReads: difference(before, counted), stepReads: difference(counted, stepped) };
}

function difference(before: RowsRead, after: RowsRead): RowsRead {
  return { scanned: after.scanned - before.scanned, byIndex: after.byIndex - before.byIndex };
}

/** Half a second apart, to ten webhooks in turn, a tenth of them failed: an hour has 7,200. */
async function fillHistory(fixture: StoreFixture): Promise<WebhookId[]> {
  const webhookIds: WebhookId[] = [];
  for (let count = 0; count < 10; count += 1) webhookIds.push(await addWebhook(fixture));
  await fixture.db.prisma.$executeRaw`
    with history as materialized (
      select posthorn_uuid_at(at) as id, at, n from generate_series(1, 100000) n,
        lateral (select now() - n * interval '500 ms' as at) made
    ), stored as (
      insert into events (id, project_id, type, body, occurred_at)
      select id, ${uuidOf(fixture.projectId)}::uuid, 'config.deployed', '{}', at from history
    )
    insert into deliveries (id, project_id, event_id, webhook_id, status, max_attempts, created_at, finished_at, failure_reason)
    select id, ${uuidOf(fixture.projectId)}::uuid, id, (${webhookIds.map((id) => uuidOf(id))}::uuid[])[1 + n % 10],
      case when n / 10 % 10 = 0 then 'FAILED' else 'DELIVERED' end::delivery_status, 6, at, at, 'GONE'
    from history`;
  return webhookIds.slice(0, 3);
}

/** Fills an empty database, and says what was read of its hot tables: rows by scans, and rows by way of an index. */
async function coldStart(rounds: number) {
  await using fixture = await openStoreFixture();
  await fill(fixture, await addWebhook(fixture), rounds);
  const { scanned, byIndex } = await readRows(fixture);
  const { accepted, counts } = await ledger(fixture.db, fixture.projectId);
  return { scannedCount: scanned, readsPerDelivery: byIndex / accepted, deliveredCount: counts.DELIVERED };
}

/** Emits, parks and takes a fifth, claims, records, and sweeps, a hundred deliveries at once and round after round. */
async function fill(fixture: StoreFixture, webhookId: WebhookId, rounds: number): Promise<void> {
  const { db } = fixture;
  const emit = createEmitter(db, { maxAttempts: 6 });
  const claim = createTestClaimer(fixture, { retryScheduleSeconds: [60], claimLeaseMs });
  const record = createRecorder(db, { maxAttempts: 6 });
  const emitOne = async (): Promise<DeliveryId> => {
    const emitted = await emit(anEvent(fixture.projectId));
    const id = emitted.kind === 'stored' ? emitted.deliveries[0]?.id : undefined;
    if (id === undefined) throw new Error('nothing was stored');
    return id;
  };
  const deliver = async (id: DeliveryId): Promise<void> => {
    const claimed = await claim(id);
    if (claimed.kind !== 'claimed') throw new Error(`${id} was ${claimed.kind}`);
    await record({ dispatch: claimed.dispatch, result: answered(204), decision: { kind: 'delivered' } });
  };
  for (let round = 0; round < rounds; round += 1) {
    const ids = await Promise.all(Array.from({ length: deliveriesPerRound }, emitOne));
    const parked = ids.slice(0, deliveriesPerRound / 5);
    await parkDeliveries(db, parked, claimLeaseMs);
    await releaseHeldDeliveries(db);
    await takeHeldDeliveries(db, webhookId, parked.length);
    await Promise.all(ids.map(async (id) => await deliver(id)));
    await indexOpenDeliveries(db, { graceMs: 0, claimLeaseMs }, new AbortController().signal);
    await listDue(db, 0, 100);
  }
}

/** The plans that the pool's sessions keep, by the statement's name. */
async function plansOf(pool: Pool): Promise<Map<string, PlanNode>> {
  const plans = new Map<string, PlanNode>();
  const clients = await Promise.all(Array.from({ length: pool.totalCount }, async () => await pool.connect()));
  for (const client of clients) {
    const { rows: statements } = await client.query<{ name: string; parameterCount: number }>(
      `select name, cardinality(parameter_types) as "parameterCount" from pg_prepared_statements where name <> ''`,
    );
    for (const { name, parameterCount } of statements) {
      const parameters = Array.from({ length: parameterCount }, () => 'null').join(', ');
      const execute = `execute "${name}"${parameterCount === 0 ? '' : `(${parameters})`}`;
      const { rows } = await client.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>(`explain (format json) ${execute}`);
      if (rows[0] !== undefined) plans.set(name, rows[0]['QUERY PLAN'][0].Plan);
    }
    client.release();
  }
  return plans;
}

/** What EXPLAIN says of one step of a plan. */
interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Index Name'?: string;
  'Index Cond'?: string;
  Plans?: PlanNode[];
}

/** The tables and indexes that a plan reads from end to end. */
function walksOf(node: PlanNode): string[] {
  const below = (node.Plans ?? []).flatMap(walksOf);
  const walked = node['Index Name'] ?? node['Relation Name'] ?? '';
  const isScan = /^(Seq|Index|Index Only|Bitmap Index) Scan$/.test(node['Node Type']);
  return isScan && node['Index Cond'] === undefined ? [walked, ...below] : below;
}

/** Has the schema of an event type looked up, and an idempotency key. */
async function emitTwiceBySchema({ db, projectId }: StoreFixture): Promise<void> {
  await upsertEventType(db, projectId, someActor(), { name: 'config.checked', schema: { type: 'object' } });
  const emit = createEmitter(db, { maxAttempts: 6 });
  const event = { ...anEvent(projectId), type: 'config.checked', data: {}, idempotencyKey: 'once' };
  const kinds = [(await emit(event)).kind, (await emit(event)).kind];
  expect(kinds).toEqual(['stored', 'duplicate']);
}

function anEvent(projectId: ProjectId): EmitInput {
  return {
    projectId,
    type: 'config.deployed',
    data: null,
    idempotencyKey: null,
    occurredAt: new Date(),
    deliverAt: null,
    testWebhookId: null,
  };
}

interface RowsRead {
  scanned: number;
  byIndex: number;
}

/** Rows of the hot tables that were read by sequential scans, and by way of an index. */
async function readRows({ db: { pipeline, upkeep } }: StoreFixture): Promise<RowsRead> {
  const idle = await Promise.all(
    [pipeline, upkeep].flatMap((pool) => Array.from({ length: pool.totalCount }, async () => await pool.connect())),
  );
  for (const client of idle) await client.query('select pg_stat_force_next_flush()');
  for (const client of idle) client.release();
  const { rows } = await pipeline.query<{ scanned: string; by_index: string }>(
    `select (select sum(seq_tup_read) from pg_stat_user_tables t where t.relname = any($1)) as scanned,
            (select sum(idx_tup_read) from pg_stat_user_indexes i where i.relname = any($1)) as by_index`,
    [['events', 'deliveries', 'attempts']],
  );
  return { scanned: Number(rows[0]?.scanned), byIndex: Number(rows[0]?.by_index) };
}
