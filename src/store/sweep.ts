import { dueDelivery, type DueRow } from './due-delivery.ts';
import type { DueDelivery } from '../domain/delivery.ts';
import type { Pipelines } from './pipelines.ts';

/** Deliveries that one step of a sweep looks at, so that no statement is long. */
const stepSize = 10_000;

/** What sweeping needs to know of the deployment. */
export interface SweepSettings {
  /** How long a new delivery or a due retry is left to its own job, in milliseconds; longer than an emit can take to commit. */
  graceMs: number;
  /** After how long a claim counts as abandoned, in milliseconds. */
  claimLeaseMs: number;
}

// A new delivery has no due_at, which keeps its happy path free of index writes (an index over status or due_at costs
// the record 27 % and 44 % more index bytes). So each is looked at once, by id, when it is older than the grace: what is
// still open then gets a due_at, and the due index knows it from there on. The mark is how far that has come. Ids of
// deliveries are made by the database, so its clock is the only one; a clock that steps back takes the mark with it.
// An array and not a join: joined, a step of 10,000 was once compared with every delivery there is. A mark
// in the future says that it did by more than the grace: what was made since has smaller ids, and nobody knows since when,
// so an hour is looked at again.
const indexSql = `
with bounds as materialized (
  select case when mark > posthorn_uuid_at(now())
      then posthorn_uuid_at(now() - $1::int * interval '1 ms' - interval '1 hour') else mark end as mark,
    posthorn_uuid_at(now() - $1::int * interval '1 ms') as until
  from sweep_marks where id = 1 for update
), step as materialized (
  select d.id from deliveries d
  where d.id > (select mark from bounds) and d.id <= (select until from bounds) order by d.id limit ${stepSize}
), indexed as (
  update deliveries d set due_at = case when d.status = 'DELIVERING'
      then d.claimed_at + $2::int * interval '1 ms'
      else now() - $1::int * interval '1 ms' end
  where d.id = any(array(select id from step)) and d.due_at is null and not d.held and d.status in ('PENDING', 'DELIVERING', 'RETRYING')
  returning 1
), moved as (
  update sweep_marks set mark = case when (select count(*) from step) = ${stepSize}
      then (select id from step order by id desc limit 1)
      else (select until from bounds) end
  where id = 1
  returning 1
)
select (select count(*) from step)::int as seen, (select count(*) from indexed)::int as open`;

/**
 * Gives every open delivery that is older than the grace a due_at, so that `listDue` finds it.
 * Works in steps of 10,000 and gives how many were open; stops early when the signal aborts.
 */
export async function indexOpenDeliveries(
  database: Pipelines,
  settings: SweepSettings,
  signal: AbortSignal,
): Promise<number> {
  let openCount = 0;
  let seen = stepSize;
  while (seen === stepSize && !signal.aborted) {
    const { rows } = await database.upkeep.query<{ seen: number; open: number }>({
      name: 'index-open-deliveries',
      text: indexSql,
      values: [settings.graceMs, settings.claimLeaseMs],
    });
    seen = rows[0]?.seen ?? 0;
    openCount += rows[0]?.open ?? 0;
  }
  return openCount;
}

const dueSql = `
select id, webhook_id, trigger = 'TEST' as is_test from deliveries
where due_at <= now() - $1::int * interval '1 ms' and status in ('PENDING', 'RETRYING', 'DELIVERING')
order by due_at limit $2::int`;

/** A delivery that nobody took; a test is nothing that may be parked. */
export interface OverdueDelivery extends DueDelivery {
  isTest: boolean;
}

/** Deliveries that have been due for longer than the grace, the longest due first, at most `limit`. */
export async function listDue(database: Pipelines, graceMs: number, limit: number): Promise<OverdueDelivery[]> {
  const { rows } = await database.upkeep.query<DueRow & { is_test: boolean }>({
    name: 'list-due',
    text: dueSql,
    values: [graceMs, limit],
  });
  return rows.map((row) => Object.assign(dueDelivery(row), { isTest: row.is_test }));
}

const stuckSql = `
select id, webhook_id from deliveries where due_at <= now() and status = 'DELIVERING' order by due_at limit $1::int`;

/** Deliveries that a worker took longer ago than the lease and never recorded, the oldest first, at most `limit`. */
export async function listStuck(database: Pipelines, limit: number): Promise<DueDelivery[]> {
  const { rows } = await database.upkeep.query<DueRow>({ name: 'list-stuck', text: stuckSql, values: [limit] });
  return rows.map((row) => dueDelivery(row));
}

const releaseSql = `
update deliveries d set
  status = case when d.attempt_count > d.round_start then 'RETRYING' else 'PENDING' end::delivery_status,
  claimed_at = null,
  due_at = now()
where d.status = 'DELIVERING' and (d.due_at is not null or d.id > (select mark from sweep_marks where id = 1))`;

/**
 * Takes every claim back and gives how many there were. Only for a start at which no other worker can be running: the
 * embedded stack, whose data folder one process holds.
 */
export async function releaseAllClaims(database: Pipelines): Promise<number> {
  const { rowCount } = await database.upkeep.query(releaseSql);
  return rowCount ?? 0;
}
