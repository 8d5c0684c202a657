import { dueDelivery, type DueRow } from './due-delivery.ts';
import { type DeliveryId, idFromUuid, uuidOf, type WebhookId } from '../domain/ids.ts';
import type { DueDelivery } from '../domain/delivery.ts';
import type { Pipelines } from './pipelines.ts';

// A delivery is held while its webhook takes none: it is paused, its circuit is open, or it has as many under way as it may.
// held = true, not due, no job. Two doors lead out. A worker that has room for the webhook takes held ones as room comes
// (takeHeldDeliveries), in the order of their ids. And sweep lets through what gets that going (releaseHeldDeliveries): one
// delivery of each webhook that could take them, which is the probe of an open circuit as well.
// So a hold is never the last word: under READ COMMITTED a claim whose snapshot still saw PAUSED can commit its hold after
// the webhook has resumed, and a worker can die with room; the next sweep sees to both.
// The other way round is harmless: what is released while the webhook is paused anew is held again by its next claim.

/** Deliveries of a webhook that takes none any more, released per sweep to be ended. */
const endedStepMax = 1_000;

// The recursion jumps from webhook to webhook along the index on held deliveries: a webhook with a million of them costs
// one step, not a million. A circuit that is open and whose wait is not over keeps its own. Those that go on come before
// those that only end, and none always first.
const releaseSql = `
with recursive holder as (
  (select webhook_id from deliveries where held order by webhook_id limit 1)
  union all
  select (select d.webhook_id from deliveries d where d.held and d.webhook_id > holder.webhook_id
    order by d.webhook_id limit 1)
  from holder where holder.webhook_id is not null
), released as (
  select w.id, case when w.status = 'DISABLED' or w.deleted_at is not null then ${endedStepMax} else 1 end as step_max
  from holder join webhooks w on w.id = holder.webhook_id
  where w.deleted_at is not null
     or w.status in ('ACTIVE', 'DISABLED')
     or w.status = 'FAILING' and coalesce(w.circuit_open_until, now()) <= now()
), step as (
  select held.id from (select * from released order by step_max, random()) released cross join lateral (
    select d.id from deliveries d where d.webhook_id = released.id and d.held
    order by d.id limit released.step_max for update skip locked
  ) held limit $1
)
update deliveries d set held = false, due_at = now() from step where d.id = step.id returning d.id, d.webhook_id`;

/** Deliveries that one sweep releases. */
const releaseMax = 10_000;

/**
 * Releases one held delivery of every webhook that may take some, whatever the project, and up to 1,000 of one that takes
 * none any more, so that they end; 10,000 in all. Gives them, to enqueue. For sweep; safe with many workers.
 */
export async function releaseHeldDeliveries(db: Pipelines): Promise<DueDelivery[]> {
  const { rows } = await db.upkeep.query<DueRow>({
    name: 'release-held-deliveries',
    text: releaseSql,
    values: [releaseMax],
  });
  return rows.map((row) => dueDelivery(row));
}

/**
 * Takes up to `countMax` held deliveries of the webhook, those with the smallest ids: they are due now. Gives none while
 * the webhook is paused or its circuit is open; rows that somebody else is changing are left out.
 */
export async function takeHeldDeliveries(db: Pipelines, webhookId: WebhookId, countMax: number): Promise<DeliveryId[]> {
  const { rows } = await db.pipeline.query<{ id: string }>({
    name: 'take-held-deliveries',
    text: `with step as (
      select d.id from deliveries d
      where d.webhook_id = $1 and d.held
        and exists (select from webhooks w where w.id = $1 and (w.status = 'ACTIVE' or w.deleted_at is not null))
      order by d.id limit $2 for update skip locked
    )
    update deliveries d set held = false, due_at = now() from step where d.id = step.id returning d.id`,
    values: [uuidOf(webhookId), countMax],
  });
  return rows.map((row) => idFromUuid('delivery', row.id)).sort();
}
