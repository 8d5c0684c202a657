import { setTimeout } from 'node:timers/promises';
import { inTransaction, type Pipelines, type Queryable } from './pipelines.ts';

/** What a cleanup removes, and how gently. */
export interface CleanupOptions {
  /** What ended before then goes. */
  olderThan: Date;
  /** Audit entries made before then go; without it, none. */
  auditOlderThan?: Date;
  /** Rows that one step looks at, at most (default 2,000). */
  stepRowsMax?: number;
}

const countNames = ['eventCount', 'deliveryCount', 'attemptCount', 'recoveryCount', 'auditEntryCount'] as const;
type Counts = Record<(typeof countNames)[number], number>;

/** What a cleanup removed. */
export interface CleanupResult extends Counts {
  /** False when the signal stopped it: there may be more, and the next cleanup goes on with it. */
  finished: boolean;
}

const stepRowsMaxDefault = 2_000;
const stepRowsFirst = 500;
const stepRowsMin = 50;
/** What a step aims to take, in milliseconds: its locks and its share of the disk are never held for much longer. */
const stepAimMs = 25;
/** Pauses in proportion to steps: the cleanup takes a quarter of the time of one connection, however busy the machine is. */
const pausePerStep = 3;

const beforeAllIds = '00000000-0000-0000-0000-000000000000';

/**
 * Removes history of all projects that is older than the instant: deliveries that ended before it with all their
 * attempts, then events made before it that have no delivery left, then attempts that were recorded after their delivery
 * had been removed, then recoveries that ended before it; and audit entries by an instant of their own. A delivery that has
 * not ended stays, with its attempts and its event. Each step is a short transaction and is followed by a pause three times
 * as long, so that deliveries go on beside it. Safe to run at any time, twice at once too; stops after the step under way
 * when the signal aborts. What the idempotency keys of removed events stood for is forgotten with them. Rejects when a step
 * fails; what earlier steps removed stays removed.
 */
export async function cleanup(
  database: Pipelines,
  options: CleanupOptions,
  signal: AbortSignal,
): Promise<CleanupResult> {
  const removed: Counts = { eventCount: 0, deliveryCount: 0, attemptCount: 0, recoveryCount: 0, auditEntryCount: 0 };
  for (const phase of phases) {
    const before = phase.name === 'audit_entries' ? options.auditOlderThan : options.olderThan;
    if (before !== undefined) await runPhase(database, phase, { before, options, signal, removed });
  }
  return { ...removed, finished: !signal.aborted };
}

/** One table's part. `pick` locks what may go and gives how far it looked; `remove` looks again, and deletes. */
interface Phase {
  /** The table. */
  name: string;
  pick: string;
  remove: string;
}

interface Run {
  before: Date;
  options: CleanupOptions;
  signal: AbortSignal;
  /** What all phases have removed so far. */
  removed: Counts;
}

// `remove` is a statement of its own, since its snapshot is younger than the locks: what somebody else committed while
// `pick` waited for nothing (SKIP LOCKED) is seen. So whoever adds a delivery to an event that exists locks the event's
// row first (FOR KEY SHARE): it is then either left alone here, or found to be gone there.
const phases: readonly Phase[] = [
  {
    name: 'deliveries',
    pick: pickSql(
      'deliveries',
      `and t.status in ('DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED') and coalesce(t.finished_at, t.created_at) < $2`,
    ),
    remove: `
with attempts_removed as (delete from attempts where delivery_id = any($1::uuid[]) returning 1),
     deliveries_removed as (delete from deliveries where id = any($1::uuid[]) returning 1)
select (select count(*)::int from deliveries_removed) as "deliveryCount",
       (select count(*)::int from attempts_removed) as "attemptCount"`,
  },
  {
    name: 'events',
    pick: pickSql('events', 'and not exists (select from deliveries d where d.event_id = t.id)'),
    remove: `
with removed as (
  delete from events t where t.id = any($1::uuid[]) and not exists (select from deliveries d where d.event_id = t.id)
  returning 1
)
select count(*)::int as "eventCount" from removed`,
  },
  {
    name: 'attempts',
    pick: pickSql('attempts', 'and not exists (select from deliveries d where d.id = t.delivery_id)'),
    remove: removeSql('attempts', 'attemptCount'),
  },
  {
    name: 'recoveries',
    pick: pickSql('recoveries', `and t.status <> 'RUNNING' and coalesce(t.finished_at, t.created_at) < $2`),
    remove: removeSql('recoveries', 'recoveryCount'),
  },
  {
    name: 'audit_entries',
    pick: pickSql('audit_entries', ''),
    remove: removeSql('audit_entries', 'auditEntryCount'),
  },
];

/** The next rows by id that are older than the instant, and those of them that meet the condition, locked. */
function pickSql(table: string, condition: string): string {
  return `
with step as materialized (
  select id from ${table} where id > $1 and id < posthorn_uuid_at($2) order by id limit $3
), picked as (
  select t.id from ${table} t where t.id = any(array(select id from step)) ${condition} for update skip locked
)
select (select id from step order by id desc limit 1) as last, (select count(*)::int from step) as seen,
       array(select id from picked) as ids`;
}

/** For tables on which nothing depends. */
function removeSql(table: string, count: keyof Counts): string {
  return `
with removed as (delete from ${table} where id = any($1::uuid[]) returning 1)
select count(*)::int as "${count}" from removed`;
}

/** Walks the table once, in steps whose size follows from how long they take. */
async function runPhase(database: Pipelines, phase: Phase, { before, options, signal, removed }: Run): Promise<void> {
  const { stepRowsMax = stepRowsMaxDefault } = options;
  let after: string | null = beforeAllIds;
  let rowCount = Math.min(stepRowsFirst, stepRowsMax);
  while (after !== null && !signal.aborted) {
    const startedAt = performance.now();
    const step = await runStep(database, phase, [after, before, rowCount]);
    const stepMs = performance.now() - startedAt;
    for (const name of countNames) removed[name] += step.removed[name] ?? 0;
    after = step.seen < rowCount ? null : step.last;
    if (after !== null) await pause(pausePerStep * stepMs, signal);
    rowCount = Math.min(stepRowsMax, nextRowCount(rowCount, stepMs));
  }
}

function nextRowCount(rowCount: number, stepMs: number): number {
  if (stepMs > 2 * stepAimMs) return Math.max(stepRowsMin, Math.ceil(rowCount / 2));
  return stepMs < stepAimMs / 2 ? rowCount * 2 : rowCount;
}

interface Step {
  last: string | null;
  seen: number;
  removed: Partial<Counts>;
}

async function runStep(database: Pipelines, phase: Phase, values: readonly unknown[]): Promise<Step> {
  try {
    return await inTransaction(database, async (client) => await pickAndRemove(client, phase, values), 'upkeep');
  } catch (error) {
    throw new Error(`a step of the cleanup of ${phase.name} failed`, { cause: error });
  }
}

async function pickAndRemove(client: Queryable, phase: Phase, values: readonly unknown[]): Promise<Step> {
  const picked = await client.query<{ last: string | null; seen: number; ids: string[] }>({
    name: `cleanup-pick-${phase.name}`,
    text: phase.pick,
    values: [...values],
  });
  const [{ last, seen, ids } = { last: null, seen: 0, ids: [] }] = picked.rows;
  if (ids.length === 0) return { last, seen, removed: {} };
  const removed = await client.query<Partial<Counts>>({
    name: `cleanup-remove-${phase.name}`,
    text: phase.remove,
    values: [ids],
  });
  return { last, seen, removed: removed.rows[0] ?? {} };
}

/** Leaves the database to the deliveries for a while, less long when the signal aborts. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(ms, null, { signal });
  } catch (error) {
    if (!signal.aborted) throw error; // aborted: the caller looks at the signal
  }
}
