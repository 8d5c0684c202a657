import type { Pipelines } from './pipelines.ts';

/** A cleanup's turn; the instant it was taken is what it is given back by. */
export interface CleanupTurn {
  takenAt: Date;
}

// By clock_timestamp() and not now(): whoever waited here for the row's lock looks again, at what is there by then.
const takeSql = `
update cleanup_turns set taken_at = date_trunc('milliseconds', clock_timestamp())
where id = 1
  and done_at < date_trunc('day', clock_timestamp() - interval '3 hours', 'UTC') + interval '3 hours'
  and (taken_at is null
    or taken_at not between clock_timestamp() - $1::int * interval '1 ms' and clock_timestamp())
returning taken_at as "takenAt"`;

/**
 * Takes the turn of the daily cleanup, or gives null: since the last 03:00 UTC one came to its end, or somebody is at it. A
 * turn that was not given back within `leaseMs` is a dead process's and can be taken again. The database's clock counts.
 */
export async function takeCleanupTurn(database: Pipelines, leaseMs: number): Promise<CleanupTurn | null> {
  const { rows } = await database.upkeep.query<CleanupTurn>({
    name: 'take-cleanup-turn',
    text: takeSql,
    values: [leaseMs],
  });
  return rows[0] ?? null;
}

/** Gives the turn back. When the cleanup came to its end, the next one is due at the next 03:00; otherwise at once. */
export async function endCleanupTurn(database: Pipelines, { takenAt }: CleanupTurn, finished: boolean): Promise<void> {
  await database.upkeep.query({
    name: 'end-cleanup-turn',
    text: `update cleanup_turns set taken_at = null, done_at = case when $2 then taken_at else done_at end
      where id = 1 and taken_at = $1`,
    values: [takenAt, finished],
  });
}
