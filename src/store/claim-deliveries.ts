import { coalesce } from '../coalesce.ts';
import { idFromUuid, uuidOf } from '../domain/ids.ts';
import { secretBytes } from '../domain/signature.ts';
import { webhookHeaders } from './webhook-headers.ts';
import type { AttemptTrigger, Dispatch } from '../domain/delivery.ts';
import type { DeliveryId } from '../domain/ids.ts';
import type { SignatureStyle } from '../domain/signature.ts';
import type { Database } from './database.ts';
import type { SecretBox } from './secret-box.ts';
import { settleUnsendable, type SettledDelivery } from './settle-unsendable.ts';

/** What claiming needs to know of the deployment. */
export interface ClaimSettings {
  /** Waits after failed attempts for webhooks that have no schedule of their own, in seconds. */
  retryScheduleSeconds: readonly number[];
  /** After how long a claim counts as abandoned: longer than an attempt and its record can take, in milliseconds. */
  claimLeaseMs: number;
}

/**
 * What a claim gives. `claimed`: it is this worker's now, to be attempted once. `settled`: its webhook takes nothing any
 * more, and it has ended without an attempt. `dropped`: not due (any more): done, held, or another worker's.
 */
export type Claim =
  | { kind: 'claimed'; dispatch: Dispatch }
  | { kind: 'settled'; delivery: SettledDelivery }
  | { kind: 'dropped' };

export type ClaimDelivery = (deliveryId: DeliveryId) => Promise<Claim>;

/**
 * Gives the function that takes a due delivery and loads everything its attempt needs. Concurrent calls share one
 * statement. However many workers ask for a delivery, one gets it.
 */
export function createClaimer(database: Database, secretBox: SecretBox, settings: ClaimSettings): ClaimDelivery {
  return coalesce((ids: DeliveryId[]) => claimDeliveries(database, secretBox, settings, ids));
}

// A retry's job may fire a little before the database's clock says it is due; dropping it would leave it to sweep.
// due_at stays null on the happy path, so that the update stays HOT; where it is set it moves to the end of the lease,
// which is how sweep finds claims of workers that died.
const claimSql = `
update deliveries d set
  status = 'DELIVERING',
  claimed_at = now(),
  due_at = case when d.due_at is not null then now() + $2::int * interval '1 ms' end
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
returning d.id, d.project_id, d.event_id, d.webhook_id, d.attempt_count, d.max_attempts, d.round_start,
          d.trigger::text, d.claimed_at, d.created_at, e.type, e.body::text as body`;

interface ClaimedRow {
  id: string;
  project_id: string;
  event_id: string;
  webhook_id: string;
  attempt_count: number;
  max_attempts: number;
  round_start: number;
  trigger: AttemptTrigger;
  claimed_at: Date;
  created_at: Date;
  type: string;
  body: string;
}

async function claimDeliveries(
  database: Database,
  secretBox: SecretBox,
  settings: ClaimSettings,
  ids: readonly DeliveryId[],
): Promise<Claim[]> {
  const { rows } = await database.pipeline.query<ClaimedRow>({
    name: 'claim-deliveries',
    text: claimSql,
    values: [[...new Set(ids.map((id) => uuidOf(id)))], settings.claimLeaseMs],
  });
  const endpoints = await loadEndpoints(database, secretBox, settings, rows);
  const claims = new Map<DeliveryId, Claim>();
  for (const row of rows) {
    const dispatch = dispatchOf(row, endpoints);
    claims.set(dispatch.deliveryId, { kind: 'claimed', dispatch });
  }
  const missed = ids.filter((id) => !claims.has(id));
  if (missed.length > 0) {
    for (const delivery of await settleUnsendable(database, missed)) {
      claims.set(delivery.id, { kind: 'settled', delivery });
    }
  }
  return ids.map((id) => takeFirst(claims, id));
}

/** An id that was asked for twice in one batch is given to the first that asked. */
function takeFirst(claims: Map<DeliveryId, Claim>, id: DeliveryId): Claim {
  const claim = claims.get(id);
  claims.delete(id);
  return claim ?? { kind: 'dropped' };
}

type Endpoint = Pick<Dispatch, 'url' | 'headers' | 'signatureStyle' | 'secrets' | 'retryScheduleSeconds'>;

const endpointsSql = `
select w.id, w.url, w.headers, w.signature_style::text, w.retry_schedule,
       array(select s.ciphertext from webhook_secrets s
             where s.webhook_id = w.id and (s.expires_at is null or s.expires_at > now())
             order by s.id desc) as secrets
from webhooks w where w.id = any($1::uuid[])`;

interface EndpointRow {
  id: string;
  url: string;
  headers: unknown;
  signature_style: SignatureStyle;
  retry_schedule: number[];
  secrets: string[];
}

/** The webhooks' settings as attempts need them, one row per webhook however many deliveries it has in the batch. */
async function loadEndpoints(
  database: Database,
  secretBox: SecretBox,
  settings: ClaimSettings,
  claimed: readonly ClaimedRow[],
): Promise<Map<string, Endpoint>> {
  const webhookIds = [...new Set(claimed.map((row) => row.webhook_id))];
  if (webhookIds.length === 0) return new Map();
  const { rows } = await database.pipeline.query<EndpointRow>({
    name: 'load-endpoints',
    text: endpointsSql,
    values: [webhookIds],
  });
  return new Map(
    rows.map((row) => [
      row.id,
      {
        url: row.url,
        headers: webhookHeaders(secretBox, row),
        signatureStyle: row.signature_style,
        secrets: row.secrets.map((ciphertext) => secretBytes(secretBox.decrypt(ciphertext))),
        retryScheduleSeconds: row.retry_schedule.length > 0 ? row.retry_schedule : settings.retryScheduleSeconds,
      },
    ]),
  );
}

function dispatchOf(row: ClaimedRow, endpoints: ReadonlyMap<string, Endpoint>): Dispatch {
  const endpoint = endpoints.get(row.webhook_id);
  if (endpoint === undefined) throw new Error(`webhook ${row.webhook_id} of a claimed delivery is gone`);
  return {
    ...endpoint,
    deliveryId: idFromUuid('delivery', row.id),
    projectId: idFromUuid('project', row.project_id),
    eventId: idFromUuid('event', row.event_id),
    webhookId: idFromUuid('webhook', row.webhook_id),
    eventType: row.type,
    body: row.body,
    attemptNumber: row.attempt_count + 1,
    roundStart: row.round_start,
    maxAttempts: row.max_attempts,
    trigger: row.trigger,
    claimedAt: row.claimed_at,
    createdAt: row.created_at,
  };
}
