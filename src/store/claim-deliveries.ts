import { coalesce } from '../coalesce.ts';
import { idFromUuid, uuidOf } from '../domain/ids.ts';
import { findTraceParent } from '../domain/trace-parent.ts';
import type { AttemptTrigger, Dispatch } from '../domain/delivery.ts';
import type { DeliveryId } from '../domain/ids.ts';
import type { Pipelines } from './pipelines.ts';
import { settleUnsendable, type SettledDelivery } from './settle-unsendable.ts';
import type { Endpoint, SeenWebhook, WebhookCache, WebhookSettings } from './webhook-settings.ts';

/**
 * What a claim gives. `claimed`: it is this worker's now, to be attempted once. `settled`: its webhook takes nothing any
 * more, and it has ended without an attempt. `dropped`: not due (any more): done, held, or another worker's.
 */
export type Claim =
  | { kind: 'claimed'; dispatch: Dispatch }
  | { kind: 'settled'; delivery: SettledDelivery }
  | { kind: 'dropped' };

export type ClaimDelivery = (deliveryId: DeliveryId) => Promise<Claim>;

/** What one delivery of a batch came to; a failure is its own and not the batch's. */
type Outcome = Claim | { kind: 'failed'; error: unknown };

/**
 * Gives the function that takes a due delivery and loads everything its attempt needs. Concurrent calls share one
 * statement. However many workers ask for a delivery, one gets it. Rejects when the webhook's secrets or headers cannot be
 * decrypted: the claim then goes stale, and the delivery is due again. `claimLeaseMs` is after how long a claim counts as
 * abandoned: longer than an attempt and its record can take (src/domain/claim-lease.ts).
 */
export function createClaimer(database: Pipelines, webhooks: WebhookCache, claimLeaseMs: number): ClaimDelivery {
  const claimTogether = coalesce((ids: DeliveryId[]) => claimDeliveries(database, webhooks, claimLeaseMs, ids));
  return async (id) => {
    const outcome = await claimTogether(id);
    if (outcome.kind === 'failed') throw outcome.error;
    return outcome;
  };
}

// A retry's job may fire a little before the database's clock says it is due; dropping it would leave it to sweep.
// due_at stays null on the happy path, so that the update stays HOT; where it is set it moves to the end of the lease,
// which is how sweep finds claims of workers that died. A delivery that is still held may be claimed between its webhook's
// resumption and its release, which then must not touch it any more; sweep's mark may be past it, so it needs a due_at.
const claimSql = `
update deliveries d set
  status = 'DELIVERING',
  claimed_at = now(),
  held = false,
  due_at = case when d.due_at is not null or d.held then now() + $2::int * interval '1 ms' end
from events e, webhooks w
where d.id = any($1::uuid[])
  and e.id = d.event_id
  and w.id = d.webhook_id and w.deleted_at is null
  and (w.status in ('ACTIVE', 'FAILING') or d.trigger = 'TEST')
  and case d.status
        when 'PENDING' then d.due_at is null or d.due_at <= now() + interval '1 s'
        when 'RETRYING' then d.due_at is null or d.due_at <= now() + interval '1 s'
        when 'DELIVERING' then d.claimed_at < now() - $2::int * interval '1 ms'
        else false
      end
returning d.id, d.event_id, d.webhook_id, w.xmin::text as webhook_version, d.attempt_count, d.max_attempts, d.round_start,
          d.trigger::text, d.claimed_at, d.created_at, e.type, e.body::text as body, e.trace_parent`;

interface ClaimedRow {
  id: string;
  event_id: string;
  webhook_id: string;
  webhook_version: string;
  attempt_count: number;
  max_attempts: number;
  round_start: number;
  trigger: AttemptTrigger;
  claimed_at: Date;
  created_at: Date;
  type: string;
  body: string;
  trace_parent: string | null;
}

async function claimDeliveries(
  database: Pipelines,
  webhooks: WebhookCache,
  claimLeaseMs: number,
  ids: readonly DeliveryId[],
): Promise<Outcome[]> {
  const idByUuid = new Map(ids.map((id) => [uuidOf(id), id]));
  const { rows } = await database.pipeline.query<ClaimedRow>({
    name: 'claim-deliveries',
    text: claimSql,
    values: [[...idByUuid.keys()], claimLeaseMs],
  });
  const settings = await webhooks.loadVersions(seenWebhooks(rows));
  const outcomes = new Map<DeliveryId, Outcome>();
  for (const row of rows) {
    const id = idByUuid.get(row.id);
    if (id !== undefined) outcomes.set(id, outcomeOf(id, row, settings.get(row.webhook_id)));
  }
  const missed = ids.filter((id) => !outcomes.has(id));
  for (const [id, outcome] of await settleMissed(database, claimLeaseMs, missed)) outcomes.set(id, outcome);
  return ids.map((id) => takeFirst(outcomes, id));
}

function seenWebhooks(rows: readonly ClaimedRow[]): SeenWebhook[] {
  const versions = new Map(rows.map((row) => [row.webhook_id, row.webhook_version]));
  return [...versions].map(([uuid, version]) => ({ uuid, version }));
}

/** What became of deliveries that were not claimed. Never rejects: the others of the batch are claimed, and go on. */
async function settleMissed(
  database: Pipelines,
  claimLeaseMs: number,
  missed: readonly DeliveryId[],
): Promise<[DeliveryId, Outcome][]> {
  if (missed.length === 0) return [];
  try {
    const settled = await settleUnsendable(database, missed, claimLeaseMs);
    return settled.map((delivery) => [delivery.id, { kind: 'settled', delivery }]);
  } catch (error) {
    return missed.map((id) => [id, { kind: 'failed', error }]);
  }
}

/** An id that was asked for twice in one batch is given to the first that asked. */
function takeFirst(outcomes: Map<DeliveryId, Outcome>, id: DeliveryId): Outcome {
  const outcome = outcomes.get(id);
  outcomes.delete(id);
  return outcome ?? { kind: 'dropped' };
}

function outcomeOf(id: DeliveryId, row: ClaimedRow, settings: WebhookSettings | undefined): Outcome {
  if (settings === undefined) return { kind: 'failed', error: new Error(`webhook ${row.webhook_id} is gone`) };
  const { endpoint } = settings;
  if (endpoint.kind === 'unreadable') return { kind: 'failed', error: endpoint.error };
  return { kind: 'claimed', dispatch: dispatchOf(id, row, endpoint.endpoint) };
}

function dispatchOf(deliveryId: DeliveryId, row: ClaimedRow, endpoint: Endpoint): Dispatch {
  return {
    ...endpoint,
    deliveryId,
    eventId: idFromUuid('event', row.event_id),
    eventType: row.type,
    body: row.body,
    attemptNumber: row.attempt_count + 1,
    roundStart: row.round_start,
    maxAttempts: row.max_attempts,
    trigger: row.trigger,
    traceParent: findTraceParent(row.trace_parent),
    claimedAt: row.claimed_at,
    createdAt: row.created_at,
  };
}
