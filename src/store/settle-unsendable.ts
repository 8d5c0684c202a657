import { idFromUuid, uuidOf } from '../domain/ids.ts';
import type { AttemptTrigger, FailureReason } from '../domain/delivery.ts';
import type { DeliveryId, EventId, ProjectId, WebhookId } from '../domain/ids.ts';
import type { Pipelines } from './pipelines.ts';

/** A delivery that ended without an attempt, as it stands now. */
export interface SettledDelivery {
  id: DeliveryId;
  projectId: ProjectId;
  eventId: EventId;
  webhookId: WebhookId;
  eventType: string;
  status: 'SKIPPED' | 'FAILED' | 'CANCELLED';
  attemptCount: number;
  maxAttempts: number;
  roundStart: number;
  trigger: AttemptTrigger;
  failureReason: FailureReason;
  createdAt: Date;
  finishedAt: Date;
}

// A held delivery has no due_at: sweep leaves it alone until its webhook takes deliveries. A stale claim is settled as
// well: its worker died, the webhook's claim condition keeps every other from it, and nobody else would ever end it.
const settleSql = `
with settled as (
  update deliveries d set
    status = case when w.deleted_at is not null then 'CANCELLED'
                  when w.status <> 'DISABLED'
                    then case when d.attempt_count > d.round_start then 'RETRYING' else 'PENDING' end
                  when d.attempt_count = 0 then 'SKIPPED'
                  else 'FAILED' end::delivery_status,
    held = w.status <> 'DISABLED' and w.deleted_at is null,
    due_at = null,
    claimed_at = null,
    failure_reason = case when w.deleted_at is not null then 'WEBHOOK_DELETED'
                          when w.status = 'DISABLED' then 'WEBHOOK_DISABLED' end,
    finished_at = case when w.status = 'DISABLED' or w.deleted_at is not null then now() end
  from webhooks w
  where d.id = any($1::uuid[]) and w.id = d.webhook_id and not d.held
    and (d.status in ('PENDING', 'RETRYING') and (not $3::boolean or d.due_at is null or d.due_at <= now() + interval '1 s')
      or d.status = 'DELIVERING' and d.claimed_at < now() - $2::int * interval '1 ms')
    and (w.deleted_at is not null or d.trigger <> 'TEST' and (w.status in ('PAUSED', 'DISABLED') or $3::boolean))
  returning d.*
)
select s.id, s.project_id, s.event_id, s.webhook_id, e.type, s.status::text, s.attempt_count, s.max_attempts,
       s.round_start, s.trigger::text, s.failure_reason, s.created_at, s.finished_at
from settled s join events e on e.id = s.event_id
where not s.held`;

interface SettledRow {
  id: string;
  project_id: string;
  event_id: string;
  webhook_id: string;
  type: string;
  status: SettledDelivery['status'];
  attempt_count: number;
  max_attempts: number;
  round_start: number;
  trigger: AttemptTrigger;
  failure_reason: FailureReason;
  created_at: Date;
  finished_at: Date;
}

/**
 * Takes deliveries whose webhook does not take them now out of the way: held while it is paused, SKIPPED (never tried)
 * or FAILED when it is disabled, CANCELLED when it is deleted. Those under way stay, unless their claim is older than the
 * lease. Gives those that have ended.
 */
export async function settleUnsendable(
  database: Pipelines,
  ids: readonly DeliveryId[],
  claimLeaseMs: number,
): Promise<SettledDelivery[]> {
  return await settle(database, ids, { claimLeaseMs, parking: false });
}

/**
 * Parks due deliveries for which their webhook has no room: held, without a job, until they are released one by one or by
 * the dozen (held-deliveries.ts). Waiting costs neither an attempt nor a look. Those whose webhook takes nothing any more
 * are settled instead; gives those that have ended by that.
 */
export async function parkDeliveries(
  database: Pipelines,
  ids: readonly DeliveryId[],
  claimLeaseMs: number,
): Promise<SettledDelivery[]> {
  return await settle(database, ids, { claimLeaseMs, parking: true });
}

async function settle(
  database: Pipelines,
  ids: readonly DeliveryId[],
  { claimLeaseMs, parking }: { claimLeaseMs: number; parking: boolean },
): Promise<SettledDelivery[]> {
  const { rows } = await database.pipeline.query<SettledRow>({
    name: 'settle-unsendable',
    text: settleSql,
    values: [ids.map((id) => uuidOf(id)), claimLeaseMs, parking],
  });
  return rows.map((row) => settledDelivery(row));
}

function settledDelivery(row: SettledRow): SettledDelivery {
  return {
    id: idFromUuid('delivery', row.id),
    projectId: idFromUuid('project', row.project_id),
    eventId: idFromUuid('event', row.event_id),
    webhookId: idFromUuid('webhook', row.webhook_id),
    eventType: row.type,
    status: row.status,
    attemptCount: row.attempt_count,
    maxAttempts: row.max_attempts,
    roundStart: row.round_start,
    trigger: row.trigger,
    failureReason: row.failure_reason,
    createdAt: row.created_at,
    finishedAt: row.finished_at,
  };
}
