import type { Queryable } from './pipelines.ts';

/** Deliveries that wait, each counted up to 10,000. */
export interface OpenDeliveries {
  /** Of those that are or will be due at a known time. */
  pending: number;
  retrying: number;
  /** Waiting for their webhook: it is paused or failing, or has no room. */
  held: number;
  /** Taken by a worker longer ago than an attempt can take. */
  stuck: number;
}

// Never a count over the table: two partial indexes hold what waits, and of each 10,000 entries are read at most.
// What was created a moment ago is in neither (see sweep.ts).
const openSql = `
with due as (
  select status, due_at from deliveries where due_at is not null order by due_at limit 10000
), held as (
  select from deliveries where held limit 10000
)
select count(*) filter (where status = 'PENDING')::int as pending,
       count(*) filter (where status = 'RETRYING')::int as retrying,
       count(*) filter (where status = 'DELIVERING' and due_at <= now())::int as stuck,
       (select count(*) from held)::int as held
from due`;

/** Counts the deliveries of all projects that wait. */
export async function countOpenDeliveries(database: Queryable): Promise<OpenDeliveries> {
  const { rows } = await database.query<OpenDeliveries>({ name: 'count-open-deliveries', text: openSql });
  return rows[0] ?? { pending: 0, retrying: 0, held: 0, stuck: 0 };
}
