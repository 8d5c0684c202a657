import { coalesce } from '../coalesce.ts';
import { parsePrivateKey } from '../domain/asymmetric-key.ts';
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

/** What one delivery of a batch came to; a failure is its own and not the batch's. */
type Outcome = Claim | { kind: 'failed'; error: unknown };

/**
 * Gives the function that takes a due delivery and loads everything its attempt needs. Concurrent calls share one
 * statement. However many workers ask for a delivery, one gets it. Rejects when the webhook's secrets or headers cannot be
 * decrypted: the claim then goes stale, and the delivery is due again.
 */
export function createClaimer(database: Database, secretBox: SecretBox, settings: ClaimSettings): ClaimDelivery {
  const claimTogether = coalesce((ids: DeliveryId[]) => claimDeliveries(database, secretBox, settings, ids));
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
): Promise<Outcome[]> {
  const { rows } = await database.pipeline.query<ClaimedRow>({
    name: 'claim-deliveries',
    text: claimSql,
    values: [[...new Set(ids.map((id) => uuidOf(id)))], settings.claimLeaseMs],
  });
  const endpoints = await loadEndpoints(database, secretBox, settings, rows);
  const outcomes = new Map<DeliveryId, Outcome>();
  for (const row of rows) outcomes.set(idFromUuid('delivery', row.id), outcomeOf(row, endpoints.get(row.webhook_id)));
  const missed = ids.filter((id) => !outcomes.has(id));
  for (const [id, outcome] of await settleMissed(database, settings, missed)) outcomes.set(id, outcome);
  return ids.map((id) => takeFirst(outcomes, id));
}

/** What became of deliveries that were not claimed. Never rejects: the others of the batch are claimed, and go on. */
async function settleMissed(
  database: Database,
  settings: ClaimSettings,
  missed: readonly DeliveryId[],
): Promise<[DeliveryId, Outcome][]> {
  if (missed.length === 0) return [];
  try {
    const settled = await settleUnsendable(database, missed, settings.claimLeaseMs);
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

type Endpoint = Pick<
  Dispatch,
  'url' | 'headers' | 'signatureStyle' | 'secrets' | 'asymmetricKeys' | 'retryScheduleSeconds'
>;

/** A webhook that cannot be read spoils its own deliveries' claims, not those of the batch. */
type LoadedEndpoint = { kind: 'readable'; endpoint: Endpoint } | { kind: 'unreadable'; error: unknown };

const endpointsSql = `
select w.id, w.url, w.headers, w.signature_style::text, w.retry_schedule,
       array(select s.ciphertext from webhook_secrets s
             where s.webhook_id = w.id and s.algorithm = 'HMAC_SHA256'
               and (s.expires_at is null or s.expires_at > now())
             order by s.id desc) as secrets,
       array(select s.ciphertext from webhook_secrets s
             where w.sign_asymmetrically and s.webhook_id = w.id and s.algorithm = 'ED25519'
               and (s.expires_at is null or s.expires_at > now())
             order by s.id desc) as private_keys
from webhooks w where w.id = any($1::uuid[])`;

interface EndpointRow {
  id: string;
  url: string;
  headers: unknown;
  signature_style: SignatureStyle;
  retry_schedule: number[];
  secrets: string[];
  private_keys: string[];
}

/** The webhooks' settings as attempts need them, one row per webhook however many deliveries it has in the batch. */
async function loadEndpoints(
  database: Database,
  secretBox: SecretBox,
  settings: ClaimSettings,
  claimed: readonly ClaimedRow[],
): Promise<Map<string, LoadedEndpoint>> {
  const webhookIds = [...new Set(claimed.map((row) => row.webhook_id))];
  if (webhookIds.length === 0) return new Map();
  const { rows } = await database.pipeline.query<EndpointRow>({
    name: 'load-endpoints',
    text: endpointsSql,
    values: [webhookIds],
  });
  return new Map(rows.map((row) => [row.id, readEndpoint(secretBox, settings, row)]));
}

function readEndpoint(secretBox: SecretBox, settings: ClaimSettings, row: EndpointRow): LoadedEndpoint {
  try {
    const endpoint = {
      url: row.url,
      headers: webhookHeaders(secretBox, row),
      signatureStyle: row.signature_style,
      secrets: row.secrets.map((ciphertext) => secretBytes(secretBox.decrypt(ciphertext))),
      asymmetricKeys: row.private_keys.map((ciphertext) => parsePrivateKey(secretBox.decrypt(ciphertext))),
      retryScheduleSeconds: row.retry_schedule.length > 0 ? row.retry_schedule : settings.retryScheduleSeconds,
    };
    return { kind: 'readable', endpoint };
  } catch (cause) {
    return { kind: 'unreadable', error: new Error(`webhook ${row.id} cannot be read`, { cause }) };
  }
}

function outcomeOf(row: ClaimedRow, loaded: LoadedEndpoint | undefined): Outcome {
  if (loaded === undefined) return { kind: 'failed', error: new Error(`webhook ${row.webhook_id} is gone`) };
  if (loaded.kind === 'unreadable') return { kind: 'failed', error: loaded.error };
  return { kind: 'claimed', dispatch: dispatchOf(row, loaded.endpoint) };
}

function dispatchOf(row: ClaimedRow, endpoint: Endpoint): Dispatch {
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
