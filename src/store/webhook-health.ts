import { idFromUuid, uuidOf } from '../domain/ids.ts';
import { inTransaction, type Pipelines, type Queryable } from './pipelines.ts';
import { storeOwnEvents, type OwnEvent, type OwnEventInput } from './own-event.ts';
import type { ProjectId, WebhookId } from '../domain/ids.ts';
import type { EmitSettings } from './emit-event.ts';

// What its receiver's answers make of a webhook. It is FAILING while its circuit is open; its row says so, and until when:
// every worker, the sweep and the fan-out go by it. The event that tells the project is stored in the transaction of the change.

/** A webhook and its project. */
export interface WebhookRef {
  projectId: ProjectId;
  webhookId: WebhookId;
}

/** An opening of a circuit, the first or one in a row. */
export interface CircuitOpening {
  /** Why, as the webhook's status reason. */
  reason: string;
  /** Milliseconds until a probe may be made. */
  openMs: number;
  /** Openings in a row with this one. */
  openCount: number;
}

/** What came of it: `changed` when the webhook's status is another now, with the event that says so. */
export interface HealthChange {
  changed: boolean;
  event: OwnEvent | null;
}

// Another worker may have opened it for longer. A webhook that was not FAILING has nothing left of an earlier time.
const openSql = `
with before as (
  select id, status from webhooks
  where project_id = $1 and id = $2 and deleted_at is null and status in ('ACTIVE', 'FAILING') for update
)
update webhooks w set
  status = 'FAILING',
  status_reason = $3,
  status_changed_at = case when before.status = 'ACTIVE' then now() else w.status_changed_at end,
  circuit_opened_at = now(),
  circuit_open_until = greatest(w.circuit_open_until, now() + $4::float8 * interval '1 ms'),
  circuit_open_count = greatest(w.circuit_open_count, $5)
from before where w.id = before.id
returning w.name, w.status_changed_at, before.status = 'ACTIVE' as changed`;

const closeSql = `
update webhooks set status = 'ACTIVE', status_reason = null, status_changed_at = now(),
  circuit_opened_at = null, circuit_open_until = null, circuit_open_count = 0
where project_id = $1 and id = $2 and deleted_at is null and status = 'FAILING'
returning name, status_changed_at, true as changed`;

interface ChangedRow {
  name: string;
  status_changed_at: Date;
  changed: boolean;
}

/** Opens the circuit, or opens it again for longer: an ACTIVE webhook is FAILING from now on. Others stay as they are. */
export async function openCircuit(
  database: Pipelines,
  settings: EmitSettings,
  webhook: WebhookRef,
  { reason, openMs, openCount }: CircuitOpening,
): Promise<HealthChange> {
  return await inTransaction(database, async (transaction) => {
    const values = [uuidOf(webhook.projectId), uuidOf(webhook.webhookId), reason, openMs, Math.min(openCount, 32_767)];
    const { rows } = await transaction.query<ChangedRow>({ name: 'open-circuit', text: openSql, values });
    return await told(transaction, settings, statusEvent('posthorn.webhook.failing', webhook, rows[0], reason));
  });
}

/** Closes the circuit: a FAILING webhook is ACTIVE again. Others stay as they are. */
export async function closeCircuit(
  database: Pipelines,
  settings: EmitSettings,
  webhook: WebhookRef,
): Promise<HealthChange> {
  return await inTransaction(database, async (transaction) => {
    const values = [uuidOf(webhook.projectId), uuidOf(webhook.webhookId)];
    const { rows } = await transaction.query<ChangedRow>({ name: 'close-circuit', text: closeSql, values });
    return await told(transaction, settings, statusEvent('posthorn.webhook.recovered', webhook, rows[0], null));
  });
}

const disableSql = `
update webhooks
set status = 'DISABLED', status_reason = $3, status_changed_at = now(), updated_at = now(),
  circuit_opened_at = null, circuit_open_until = null, circuit_open_count = 0
where project_id = $1 and id = $2 and deleted_at is null and status = any($4::webhook_status[])
returning name, status_changed_at, true as changed`;

/** Why a webhook is disabled, as its status reason. */
export type DisableReason = 'GONE' | 'DISABLED_BY_RECEIVER' | 'FAILING_TOO_LONG';

/** Disables the webhook for the reason. One that is disabled or deleted already, or has recovered, stays as it is. */
export async function disableWebhook(
  database: Pipelines,
  settings: EmitSettings,
  webhook: WebhookRef,
  reason: DisableReason,
): Promise<HealthChange> {
  const from = reason === 'FAILING_TOO_LONG' ? ['FAILING'] : ['ACTIVE', 'FAILING', 'PAUSED'];
  return await inTransaction(database, async (transaction) => {
    const values = [uuidOf(webhook.projectId), uuidOf(webhook.webhookId), reason, from];
    const { rows } = await transaction.query<ChangedRow>({ name: 'disable-webhook', text: disableSql, values });
    return await told(transaction, settings, statusEvent('posthorn.webhook.disabled', webhook, rows[0], reason));
  });
}

// An attempt failed that much later than the first, and none succeeded in between: that would have closed the circuit.
// A webhook that nothing was sent to for the time is not disabled for it.
const longFailingSql = `
select project_id, id from webhooks
where status = 'FAILING' and deleted_at is null
  and circuit_opened_at >= status_changed_at + $1::float8 * interval '1 ms'
order by id limit $2`;

/** Webhooks whose every attempt has failed for at least that long, at most `limit`. */
export async function listLongFailing(database: Pipelines, failingMs: number, limit: number): Promise<WebhookRef[]> {
  const { rows } = await database.upkeep.query<{ project_id: string; id: string }>({
    name: 'list-long-failing',
    text: longFailingSql,
    values: [failingMs, limit],
  });
  return rows.map((row) => ({
    projectId: idFromUuid('project', row.project_id),
    webhookId: idFromUuid('webhook', row.id),
  }));
}

/** The event that tells of the change; null when there was none. */
function statusEvent(
  type: OwnEventInput['type'],
  { projectId, webhookId }: WebhookRef,
  row: ChangedRow | undefined,
  reason: string | null,
): OwnEventInput | null {
  if (row?.changed !== true) return null;
  const data = { webhookId, name: row.name, reason, changedAt: row.status_changed_at.toISOString() };
  return { type, projectId, webhookId, data };
}

async function told(
  transaction: Queryable,
  settings: EmitSettings,
  input: OwnEventInput | null,
): Promise<HealthChange> {
  if (input === null) return { changed: false, event: null };
  const [event] = await storeOwnEvents(transaction, settings, [input]);
  return { changed: true, event: event ?? null };
}
