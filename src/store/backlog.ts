import type { Queryable } from './pipelines.ts';

/** How far deliveries are behind. */
export interface Backlog {
  /** Overdue deliveries, counted up to 10,000. */
  overdueCount: number;
  /** Since when the one that waits longest has been due; null when none is. */
  oldestDueAt: Date | null;
  /** Up to when sweep has looked at new deliveries; null when it never has. */
  sweptUntil: Date | null;
}

// New deliveries have no due_at until sweep has looked at them (see sweep.ts): those between its mark and the grace are
// overdue as well, and where no sweep runs they are all there are. Each half looks at 10,000 rows at most.
const backlogSql = `
with mark as (
  select mark from sweep_marks where id = 1
), indexed as (
  select due_at as since from deliveries
  where due_at <= now() - $1::int * interval '1 ms' and status in ('PENDING', 'RETRYING', 'DELIVERING')
  order by due_at limit 10000
), unseen as (
  select d.id, d.status, d.due_at, d.held, d.created_at from deliveries d
  where d.id > (select mark from mark) and d.id <= posthorn_uuid_at(now() - $1::int * interval '1 ms')
  order by d.id limit 10000
), overdue as (
  select since from indexed
  union all
  select created_at from unseen where due_at is null and not held and status in ('PENDING', 'RETRYING', 'DELIVERING')
)
select (select count(*) from overdue)::int as count, (select min(since) from overdue) as since, (select mark from mark) as mark`;

/** Reads how far deliveries are behind by more than the grace, in milliseconds. */
export async function loadBacklog(database: Queryable, graceMs: number): Promise<Backlog> {
  const { rows } = await database.query<{ count: number; since: Date | null; mark: string | null }>({
    text: backlogSql,
    values: [graceMs],
  });
  const { count = 0, since = null, mark = null } = rows[0] ?? {};
  return {
    overdueCount: Math.min(count, 10_000),
    oldestDueAt: since,
    sweptUntil: mark === null ? null : instantOf(mark),
  };
}

/** The first 48 bits of a UUIDv7 are milliseconds; the mark starts at zero. Source: RFC 9562 §5.7. */
function instantOf(uuid: string): Date | null {
  const ms = Number.parseInt(uuid.replaceAll('-', '').slice(0, 12), 16);
  return ms === 0 ? null : new Date(ms);
}
