import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addWebhook } from '../support/store-fixture.ts';

// What pages cost when there are many deliveries: `npm run bench -- query` has the times, with a million.

const deliveryCount = 1_000_000;
const pageRows = 50;
let fixture: SchemaFixture;
let webhookIds: WebhookId[];

beforeAll(async () => {
  fixture = await openSchemaFixture();
  webhookIds = [await addWebhook(fixture), await addWebhook(fixture)];
  await addHistory();
}, 300_000);
afterAll(async () => await fixture[Symbol.asyncDispose]());
beforeEach(() => {
  fixture.statements.length = 0;
});

/** One every five seconds until now, in turn to either webhook; every hundredth failed. */
async function addHistory(): Promise<void> {
  const client = await connectToDatabase(fixture.db.reads.options.connectionString ?? '');
  try {
    // What is made here is consistent; checking a million references to it would take half of the time.
    await client.query('set session_replication_role = replica');
    await client.query(
      `insert into events (id, project_id, type, body, occurred_at, created_at)
       select (substring(posthorn_uuid_at(at)::text for 19) || '8000-' || lpad(to_hex(n), 12, '0'))::uuid, $1,
         'config.deployed', '{"data":"a payload"}', at, at
       from generate_series(1, ${deliveryCount}) n
       cross join lateral (select now() - (${deliveryCount} - n) * interval '5 s' as at) made`,
      [uuidOf(fixture.projectId)],
    );
    await client.query(
      `insert into deliveries (id, project_id, event_id, webhook_id, status, attempt_count, max_attempts, created_at)
       select e.id, e.project_id, e.id, ($1::uuid[])[1 + n % 2],
         case when n % 100 = 0 then 'FAILED' else 'DELIVERED' end::delivery_status, 1, 6, e.created_at
       from (select *, row_number() over (order by id) as n from events) e`,
      [webhookIds.map((id) => uuidOf(id))],
    );
    await client.query('analyze events, deliveries');
  } finally {
    await client.end();
  }
}

/** Rows and index entries of the large tables that were read since the counts before; scans of whole tables apart. */
async function readsOf(ask: () => Promise<unknown>): Promise<{ scanned: number; byIndex: number }> {
  const before = await countReads();
  await ask();
  const after = await countReads();
  return { scanned: after.scanned - before.scanned, byIndex: after.byIndex - before.byIndex };
}

async function countReads(): Promise<{ scanned: number; byIndex: number }> {
  const { pipeline, reads, upkeep } = fixture.db;
  const idle = await Promise.all(
    [pipeline, reads].flatMap((pool) => Array.from({ length: pool.totalCount }, async () => await pool.connect())),
  );
  for (const client of idle) await client.query('select pg_stat_force_next_flush()');
  for (const client of idle) client.release();
  const { rows } = await upkeep.query<{ scanned: number; byIndex: number }>(
    `select (select coalesce(sum(seq_tup_read), 0)::int from pg_stat_user_tables where relname = any($1)) as scanned,
       (select coalesce(sum(idx_tup_read), 0)::int from pg_stat_user_indexes where relname = any($1)) as "byIndex"`,
    [['events', 'deliveries', 'attempts']],
  );
  return rows[0] ?? { scanned: Number.NaN, byIndex: Number.NaN };
}

const columns = 'id status attemptCount createdAt finishedAt event { id type } webhook { id name }';

test('a page of 50 deliveries with webhook and event type is one statement, and reads no payload', async () => {
  const { data, errors } = await fixture.run(`{ deliveries(first: ${pageRows}) { nodes { ${columns} } } }`);
  expect(errors).toEqual([]);
  expect(data.deliveries.nodes).toHaveLength(pageRows);
  expect(data.deliveries.nodes[0].event.type).toBe('config.deployed');
  expect(fixture.statements).toHaveLength(1);
  expect(fixture.statements.filter((sql) => /body|response_headers|\*/.test(sql.replaceAll('page.*', '')))).toEqual([]);
});

test('a payload is read when somebody asks for it, in one statement more', async () => {
  const { data } = await fixture.run(`{ deliveries(first: ${pageRows}) { nodes { ${columns} event { data } } } }`);
  expect(data.deliveries.nodes[0].event.data).toBe('a payload');
  expect(fixture.statements.filter((sql) => sql.includes('body'))).toHaveLength(1);
  expect(fixture.statements).toHaveLength(2);
});

test.each([
  ['of the project', `deliveries(first: ${pageRows}) { nodes { ${columns} } }`, 4],
  ['of each webhook', `webhooks { nodes { deliveries(first: ${pageRows}) { nodes { ${columns} } } } }`, 8],
  ['of two webhooks', `deliveries(first: ${pageRows}, filter: { webhookIds: $ids }) { nodes { ${columns} } }`, 8],
  ['of a day', `deliveries(last: ${pageRows}, filter: { since: $since }) { nodes { ${columns} } }`, 4],
  ['of one in a hundred', `deliveries(first: 5, filter: { statuses: [FAILED] }) { nodes { ${columns} } }`, 16],
])('a page %s reads what it shows and passes over, and nothing by a scan', async (_what, selection, most) => {
  const declared = ['$ids: [ID!]', '$since: DateTime'].filter((name) => selection.includes(name.split(':')[0] ?? ''));
  const document = `query ${declared.length === 0 ? '' : `(${declared.join(', ')})`} { ${selection} }`;
  const since = new Date(Date.now() - 86_400_000).toISOString();
  const reads = await readsOf(async () => {
    const { errors } = await fixture.run(document, { ids: webhookIds, since });
    expect(errors).toEqual([]);
  });
  expect(reads.scanned).toBe(0);
  expect(reads.byIndex).toBeLessThan(most * pageRows);
});

test('statistics of an hour read that hour’s deliveries and no others', async () => {
  const since = new Date(Date.now() - 3_600_000).toISOString();
  const reads = await readsOf(async () => {
    const { data } = await fixture.run(
      'query ($since: DateTime) { deliveryStats(since: $since) { counts { total } } }',
      {
        since,
      },
    );
    expect(data.deliveryStats.counts.total).toBeGreaterThan(700);
  });
  expect(reads.scanned).toBe(0);
  expect(reads.byIndex).toBeLessThan(1_500);
});
