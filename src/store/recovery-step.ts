import { idFromUuid, type ProjectId, type RecoveryId, uuidOf } from '../domain/ids.ts';
import { inTransaction, type Pipelines, type Queryable } from './pipelines.ts';
import { lookedSql, parseRecoveryFilter, scopeValues, sourceOf, takenSql } from './recovery-scope.ts';
import type { DeliveryId, EventId, WebhookId } from '../domain/ids.ts';
import type { EmitSettings } from './emit-event.ts';
import type { RecoveryScope } from './recovery-scope.ts';

/** Deliveries that a recovery sends again per second unless it says otherwise. */
export const recoveryRateDefault = 500;

/** Deliveries that one step sends again, and those that it looks at for them. */
const resentMax = 500;
const lookedMax = 2_000;
/** How much of its rate a recovery that was kept waiting makes up for at once, in milliseconds. */
const catchUpMs = 2_000;

/** A delivery that a recovery sent again, as it stands now. */
export interface ResentDelivery {
  id: DeliveryId;
  eventId: EventId;
  webhookId: WebhookId;
  eventType: string;
  attemptCount: number;
  maxAttempts: number;
  /** Null while it waits for its webhook, which is paused or failing: it needs no hint. */
  dueAt: Date | null;
  createdAt: Date;
}

/**
 * What a step did. `none`: the recovery is at its rate's limit, another worker's, or over. `stepped`: what it sent again;
 * `finished` when that was the last.
 */
export type RecoveryStep =
  | { kind: 'none' }
  | { kind: 'stepped'; projectId: ProjectId; resent: ResentDelivery[]; finished: boolean };

/** Recoveries that are not over, whatever the project, at most `limit`: in a new order each time, so that none is always last. */
export async function listRunningRecoveries(database: Pipelines, limit: number): Promise<RecoveryId[]> {
  const { rows } = await database.upkeep.query<{ id: string }>({
    name: 'list-running-recoveries',
    text: `select id from recoveries where status = 'RUNNING' order by random() limit $1`,
    values: [limit],
  });
  return rows.map(({ id }) => idFromUuid('recovery', id));
}

/**
 * Makes the next step of a recovery, in one transaction: it looks at the next deliveries by id, sends again what it takes
 * of them, and notes how far it came. Killed at any moment, it has happened wholly or not at all; what it sent again has a
 * due time, so that sweep finds what nobody was told of. However many workers step, each step is made once.
 */
export async function stepRecovery(
  database: Pipelines,
  settings: EmitSettings,
  recoveryId: RecoveryId,
): Promise<RecoveryStep> {
  const step = async (transaction: Queryable): Promise<RecoveryStep> => {
    const recovery = await lockRecovery(transaction, uuidOf(recoveryId));
    if (recovery === null || recovery.allowance < 1) return { kind: 'none' };
    const scope = { ...recovery, filter: parseRecoveryFilter(recovery.filter) };
    const look = await lookOn(transaction, scope, recovery);
    const resent = look.ids.length === 0 ? [] : await resendAll(transaction, settings, scope, look.ids);
    await noteProgress(transaction, recovery, { ...look, resentCount: resent.length });
    return { kind: 'stepped', projectId: idFromUuid('project', recovery.projectId), resent, finished: look.finished };
  };
  return await inTransaction(database, step, 'upkeep');
}

interface RunningRecovery extends Omit<RecoveryScope, 'filter'> {
  id: string;
  filter: unknown;
  position: string | null;
  rate: number;
  /** Up to when its rate is used up, and how many deliveries have come free since. */
  usedUntil: Date;
  allowance: number;
}

// progressed_at is how far the rate has been used up: each step moves it on by what it sent, so that fractions are never
// lost, a restart cannot begin anew, and several workers together are no faster than one. The database's clock is the only one.
const lockSql = `
select r.id, r.project_id as "projectId", r.filter, r.since, r.until, r.created_at as "askedAt", r.position,
       state.rate, state.used_until as "usedUntil",
       floor(extract(epoch from now() - state.used_until) * state.rate)::int as allowance
from recoveries r
cross join lateral (
  select coalesce(r.rate_per_second, ${recoveryRateDefault}) as rate,
         least(greatest(r.progressed_at, now() - ${catchUpMs} * interval '1 ms'), now()) as used_until
) state
where r.id = $1 and r.status = 'RUNNING'
for update of r skip locked`;

async function lockRecovery(transaction: Queryable, id: string): Promise<RunningRecovery | null> {
  const { rows } = await transaction.query<RunningRecovery>({ name: 'lock-recovery', text: lockSql, values: [id] });
  return rows[0] ?? null;
}

/** What a look found: ids to take, in order, how far it saw, and whether that was the end. */
interface Look {
  ids: string[];
  position: string | null;
  finished: boolean;
}

const lookSql = { ofProject: lookSqlOf('ofProject'), ofWebhooks: lookSqlOf('ofWebhooks') } as const;

function lookSqlOf(source: 'ofProject' | 'ofWebhooks'): string {
  return `
with looked as materialized (${lookedSql(source, '$12')})
select (select id from looked order by id desc limit 1) as last, (select count(*)::int from looked) as seen,
       array(select d.id from deliveries d
             where d.id = any(array(select id from looked)) and ${takenSql} order by d.id limit $11) as ids`;
}

async function lookOn(
  transaction: Queryable,
  scope: RecoveryScope,
  { position, allowance }: RunningRecovery,
): Promise<Look> {
  const idsMax = Math.min(allowance, resentMax);
  const { source, values } = sourceOf(scope.filter);
  const { rows } = await transaction.query<{ last: string | null; seen: number; ids: string[] }>({
    name: `look-recovery-${source}`,
    text: lookSql[source],
    values: [...scopeValues(scope), position, lookedMax, idsMax, ...values],
  });
  const [{ last, seen, ids } = { last: null, seen: 0, ids: [] }] = rows;
  const isCutShort = ids.length === idsMax;
  return {
    ids,
    position: (isCutShort ? ids.at(-1) : last) ?? position,
    finished: !isCutShort && seen < lookedMax,
  };
}

// The deliveries are locked in the order of their ids, as records and sweeps do it, and their webhooks against deletion,
// disabling and pausing, as by a resend: what happened to either since the look is seen here, and what comes later sees this.
const resendSql = `
with locked as materialized (
  select d.id, w.max_attempts, w.status in ('PAUSED', 'FAILING') as waits
  from deliveries d join webhooks w on w.id = d.webhook_id
  where d.id = any($1::uuid[]) and d.project_id = $2 and d.status = any($3::delivery_status[])
    and coalesce(d.finished_at, d.created_at) <= $4
    and w.deleted_at is null and w.status <> 'DISABLED'
  order by d.id for update of d for share of w
), resent as (
  update deliveries d set
    status = 'PENDING',
    trigger = 'MANUAL',
    round_start = d.attempt_count,
    max_attempts = d.attempt_count + coalesce(locked.max_attempts, $5::int),
    due_at = case when not locked.waits then now() end,
    held = locked.waits,
    claimed_at = null,
    failure_reason = null,
    finished_at = null
  from locked where d.id = locked.id
  returning d.*
)
select r.id, r.event_id, r.webhook_id, e.type, r.attempt_count, r.max_attempts, r.due_at, r.created_at
from resent r join events e on e.id = r.event_id order by r.id`;

interface ResentRow {
  id: string;
  event_id: string;
  webhook_id: string;
  type: string;
  attempt_count: number;
  max_attempts: number;
  due_at: Date | null;
  created_at: Date;
}

async function resendAll(
  transaction: Queryable,
  { maxAttempts }: EmitSettings,
  { projectId, filter, askedAt }: RecoveryScope,
  ids: readonly string[],
): Promise<ResentDelivery[]> {
  const { rows } = await transaction.query<ResentRow>({
    name: 'resend-recovered',
    text: resendSql,
    values: [ids, projectId, filter.statuses, askedAt, maxAttempts],
  });
  return rows.map((row) => ({
    id: idFromUuid('delivery', row.id),
    eventId: idFromUuid('event', row.event_id),
    webhookId: idFromUuid('webhook', row.webhook_id),
    eventType: row.type,
    attemptCount: row.attempt_count,
    maxAttempts: row.max_attempts,
    dueAt: row.due_at,
    createdAt: row.created_at,
  }));
}

// What matched when the recovery was asked for and was not met any more in the end was delivered, resent or removed meanwhile.
const progressSql = `
update recoveries set
  position = $2,
  recovered_count = recovered_count + $3::int,
  passed_over_count = greatest(passed_over_count + $4::int,
    case when $6::boolean then matched_count - recovered_count - $3::int else 0 end),
  progressed_at = $5,
  status = case when $6 then 'COMPLETED' else status end,
  finished_at = case when $6 then now() end
where id = $1`;

async function noteProgress(
  transaction: Queryable,
  { id, rate, usedUntil }: RunningRecovery,
  { ids, position, finished, resentCount }: Look & { resentCount: number },
): Promise<void> {
  const progressedAt = new Date(usedUntil.getTime() + Math.ceil((resentCount * 1000) / rate));
  await transaction.query({
    name: 'note-recovery-progress',
    text: progressSql,
    values: [id, position, resentCount, ids.length - resentCount, progressedAt, finished],
  });
}
