import { type DeliveryId, idFromUuid, uuidOf, type WebhookId } from '../domain/ids.ts';
import type { Database } from './database.ts';

// A claim that meets a delivery of a paused webhook holds it: held = true, not due. Whoever resumes the webhook releases
// it. Under READ COMMITTED a claim whose snapshot still saw PAUSED can commit its hold after the release has looked, and
// nobody would come for that delivery. So a hold is never the last word: sweep runs releaseHeldDeliveries, which frees
// what is held by a webhook that is not paused (resumed, disabled or deleted), as of its own later snapshot.
// The other way round is harmless: what is released while the webhook is paused anew is held again by its next claim.

const beforeAllIds = '00000000-0000-0000-0000-000000000000';

/** Deliveries that one statement releases. */
export const releaseStepMax = 1_000;

/**
 * Releases up to 1,000 held deliveries of the webhook, the next ones `after` that delivery, unless it is paused: they are
 * due now. Gives their ids in order. Rows that somebody else is changing are left out.
 */
export async function releaseDeliveriesOf(
  db: Database,
  webhookId: WebhookId,
  after: DeliveryId | null,
): Promise<DeliveryId[]> {
  const { rows } = await db.pipeline.query<{ id: string }>(
    `with step as (
      select d.id from deliveries d join webhooks w on w.id = d.webhook_id
      where d.webhook_id = $1 and d.id > $2 and d.held and (w.status <> 'PAUSED' or w.deleted_at is not null)
      order by d.id limit $3 for update of d skip locked
    )
    update deliveries d set held = false, due_at = now() from step where d.id = step.id returning d.id`,
    [uuidOf(webhookId), after === null ? beforeAllIds : uuidOf(after), releaseStepMax],
  );
  return rows.map((row) => idFromUuid('delivery', row.id)).sort();
}

/** Steps of one call; the next sweep releases what is left. */
const releaseStepsMax = 10;

/**
 * Releases up to 10,000 held deliveries whose webhook is not paused, whatever the project: for sweep, which calls it
 * every run. Gives their ids, to enqueue. Safe with many workers.
 */
export async function releaseHeldDeliveries(db: Database): Promise<DeliveryId[]> {
  const released: DeliveryId[] = [];
  for (let step = 0; step < releaseStepsMax; step += 1) {
    const ids = await releaseStep(db);
    released.push(...ids);
    if (ids.length < releaseStepMax) break;
  }
  return released;
}

async function releaseStep(db: Database): Promise<DeliveryId[]> {
  const { rows } = await db.pipeline.query<{ id: string }>({
    name: 'release-held-deliveries',
    // The recursion jumps from webhook to webhook along the index on held deliveries: a paused webhook with a million
    // of them costs one step, not a million.
    text: `with recursive holder as (
      (select webhook_id from deliveries where held order by webhook_id limit 1)
      union all
      select (select d.webhook_id from deliveries d where d.held and d.webhook_id > holder.webhook_id
        order by d.webhook_id limit 1)
      from holder where holder.webhook_id is not null
    ), released as (
      select w.id from holder join webhooks w on w.id = holder.webhook_id
      where w.status <> 'PAUSED' or w.deleted_at is not null
    ), step as (
      select held.id from released cross join lateral (
        select d.id from deliveries d where d.webhook_id = released.id and d.held
        order by d.id limit $1 for update skip locked
      ) held limit $1
    )
    update deliveries d set held = false, due_at = now() from step where d.id = step.id returning d.id`,
    values: [releaseStepMax],
  });
  return rows.map((row) => idFromUuid('delivery', row.id));
}
