import type { Client } from 'pg';

/** History to make up. */
export interface HistoryPlan {
  /** UUID of the project that it belongs to. */
  projectId: string;
  /** Two of each delivery; two deliveries of each event. */
  attemptCount: number;
  /** When the oldest was made; the newest is `days` younger. */
  from: Date;
  days: number;
}

/** What of a history queries ask for. */
export interface HistoryPlaces {
  /** A third of all deliveries are to this one; UUID. */
  hotWebhookId: string;
  /** One of 999 that share the rest; UUID. */
  coldWebhookId: string;
}

const webhookCount = 1_000;
/** Deliveries that one statement makes up. */
const stepDeliveries = 100_000;

// A UUIDv7 of that millisecond whose random part is the number: unlike all others of its table, and known without looking.
const functionsSql = `
create or replace function bench_uuid(at_ms bigint, number bigint) returns uuid language sql immutable as $$
  select encode(substring(int8send(at_ms) from 3) || '\\x7000'::bytea
                || int8send((-9223372036854775807 - 1)::bigint + number), 'hex')::uuid
$$`;

const webhooksSql = `
insert into webhooks (id, project_id, name, url, event_types, retry_schedule)
select bench_uuid($2, n), $1, 'Bench ' || n, 'http://127.0.0.1/', '{*}', '{}' from generate_series(0, ${webhookCount - 1}) n`;

// Event e has the deliveries 2e and 2e + 1. Two of three events go to webhook 0 and another, the third to two others.
const eventsSql = `
insert into events (id, project_id, type, body, occurred_at, created_at)
select bench_uuid(at_ms, e), $1, 'bench.event', '{"id":"evt","type":"bench.event","data":{"text":"history"}}',
       to_timestamp(at_ms / 1000.0), to_timestamp(at_ms / 1000.0)
from generate_series($4::bigint / 2, ($5::bigint - 1) / 2) e
cross join lateral (select $2::bigint + (2 * e * $3::float8)::bigint as at_ms) made`;

const deliveriesSql = `
insert into deliveries (id, project_id, event_id, webhook_id, status, attempt_count, max_attempts, failure_reason,
                        created_at, finished_at)
select bench_uuid(at_ms, d), $1, bench_uuid(event_ms, e), bench_uuid($2::bigint, case
         when d % 2 = 0 and e % 3 < 2 then 0
         when d % 2 = 0 then 1 + (e * 7919 + 500) % ${webhookCount - 1}
         else 1 + (e * 7919) % ${webhookCount - 1} end),
       case when failed then 'FAILED' else 'DELIVERED' end::delivery_status, 2, 6,
       case when failed then 'EXHAUSTED' end, to_timestamp(at_ms / 1000.0), to_timestamp(at_ms / 1000.0 + 2)
from generate_series($4::bigint, $5::bigint - 1) d
cross join lateral (
  select d / 2 as e, d % 29 = 0 as failed, $2::bigint + (d * $3::float8)::bigint as at_ms,
         $2::bigint + (2 * (d / 2) * $3::float8)::bigint as event_ms
) made`;

const attemptsSql = `
insert into attempts (id, delivery_id, number, outcome, trigger, started_at, duration_ms, first_byte_ms,
                      response_status, response_headers, response_body)
select bench_uuid(at_ms + n * 1000, 2 * d + n), bench_uuid(at_ms, d), n, case when ok then 'SUCCEEDED' else 'FAILED' end::attempt_outcome,
       'AUTOMATIC', to_timestamp(at_ms / 1000.0 + n), 12, 11, case when ok then 204 else 503 end,
       '[{"name":"content-type","value":"text/plain"}]', 'ok'
from generate_series($4::bigint, $5::bigint - 1) d
cross join lateral (select $2::bigint + (d * $3::float8)::bigint as at_ms) made
cross join generate_series(1, 2) n
cross join lateral (select n = 2 and d % 29 <> 0 as ok) ended
where $1::uuid is not null`;

/**
 * Makes up a history in the project: 1,000 webhooks, events, deliveries of which 3.4 % failed, and attempts, evenly spread
 * over the days, with the ids that they would have. Indexes are made when the rows are there. Ends with VACUUM ANALYZE.
 * Rejects when the signal aborts.
 */
export async function fillHistory(client: Client, plan: HistoryPlan, signal: AbortSignal): Promise<HistoryPlaces> {
  const { projectId, attemptCount, from, days } = plan;
  const deliveryCount = Math.floor(attemptCount / 4) * 2;
  const fromMs = from.getTime();
  const stepMs = (days * 86_400_000) / deliveryCount;
  await client.query('set synchronous_commit = off; set maintenance_work_mem = 262144');
  await client.query(functionsSql);
  await client.query(webhooksSql, [projectId, fromMs]);
  const makeIndexes = await dropIndexes(client);
  for (let first = 0; first < deliveryCount; first += stepDeliveries) {
    const end = Math.min(first + stepDeliveries, deliveryCount);
    for (const statement of [eventsSql, deliveriesSql, attemptsSql]) {
      signal.throwIfAborted();
      await client.query(statement, [projectId, fromMs, stepMs, first, end]);
    }
  }
  for (const makeIndex of makeIndexes) {
    signal.throwIfAborted();
    await client.query(makeIndex);
  }
  for (const table of ['webhooks', 'events', 'deliveries', 'attempts']) await client.query(`vacuum analyze ${table}`);
  const { rows } = await client.query<{ hot: string; cold: string }>(
    'select bench_uuid($1, 0) as hot, bench_uuid($1, 500) as cold',
    [fromMs],
  );
  return { hotWebhookId: rows[0]?.hot ?? '', coldWebhookId: rows[0]?.cold ?? '' };
}

/** Drops the indexes that no primary key stands on, and gives what makes them again. */
async function dropIndexes(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ name: string; definition: string }>(
    `select indexname as name, indexdef as definition from pg_indexes
     where schemaname = 'public' and tablename in ('events', 'deliveries', 'attempts') and indexname not like '%_pkey'`,
  );
  for (const { name } of rows) await client.query(`drop index ${name}`);
  return rows.map(({ definition }) => definition);
}
