import type { Delivery, Prisma } from '../../prisma/generated/client/client.ts';
import { type EventId, idFromUuid, type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { type ResendOptions, type ResendResult, resendWithin, type WebhookStatus } from './resend-delivery.ts';

/** An event, and the webhook that is to get it. */
export interface ReplayTarget {
  eventId: EventId;
  webhookId: WebhookId;
}

/**
 * What became of a replay. `created`: the webhook had never been sent it. `no-event`, `no-webhook`: the project has none
 * such, or deleted it; nothing changed, as with the others that refuse.
 */
export type ReplayResult =
  | { kind: 'created'; delivery: Delivery }
  | { kind: 'resent'; delivery: Delivery }
  | { kind: 'no-event' | 'no-webhook' }
  | Extract<ResendResult, { kind: 'in-flight' | 'webhook-unavailable' }>;

/** UUIDs of what a delivery is of. */
interface DeliveryPlace {
  projectId: string;
  eventId: string;
  webhookId: string;
}

interface LockedWebhook {
  status: WebhookStatus;
  maxAttempts: number | null;
  now: Date;
}

/**
 * Sends an event to a webhook now, whatever the webhook's filters are and whenever it was created. The delivery that
 * there is of the two is resent; otherwise one is made, of which the webhook's number of attempts is before it. A paused
 * webhook's is held until that is resumed. A delivery is never made twice, however many ask at once.
 */
export async function replayEvent(
  db: Database,
  projectId: ProjectId,
  target: ReplayTarget,
  options: ResendOptions & { actor: Actor },
): Promise<ReplayResult> {
  return await db.prisma.$transaction(async (tx) => {
    const result = await replay(tx, uuidOf(projectId), target, options);
    if (result.kind === 'created' || result.kind === 'resent') {
      const targetId = idFromUuid('delivery', result.delivery.id);
      await recordAudit(tx, projectId, options.actor, { action: 'replayEvent', targetId });
    }
    return result;
  });
}

async function replay(
  tx: Prisma.TransactionClient,
  projectId: string,
  target: ReplayTarget,
  options: ResendOptions,
): Promise<ReplayResult> {
  const eventId = await lockEvent(tx, projectId, uuidOf(target.eventId));
  if (eventId === null) return { kind: 'no-event' };
  const webhookId = uuidOf(target.webhookId);
  const earlier = await lockDelivery(tx, eventId, webhookId);
  const result =
    earlier === null
      ? await create(tx, { projectId, eventId, webhookId }, options)
      : await resendWithin(tx, { projectId, id: earlier }, options);
  if (result.kind === 'webhook-unavailable' && result.status === 'DELETED') return { kind: 'no-webhook' };
  if (result.kind === 'not-found') throw new Error(`delivery ${earlier} is gone although it is locked`);
  return result;
}

/** Makes the delivery, unless another transaction has made it meanwhile: then that one is resent. */
async function create(
  tx: Prisma.TransactionClient,
  place: DeliveryPlace,
  options: ResendOptions,
): Promise<ResendResult | { kind: 'created'; delivery: Delivery } | { kind: 'no-webhook' }> {
  const webhook = await lockWebhook(tx, place);
  if (webhook === null) return { kind: 'no-webhook' };
  if (webhook.status === 'DISABLED') return { kind: 'webhook-unavailable', status: 'DISABLED' };
  const id = await insertDelivery(tx, place, webhook, options.defaultMaxAttempts);
  if (id !== null) return { kind: 'created', delivery: await tx.delivery.findUniqueOrThrow({ where: { id } }) };
  const made = await lockDelivery(tx, place.eventId, place.webhookId);
  if (made === null)
    throw new Error(`the delivery of ${place.eventId} to ${place.webhookId} was removed as it was made`);
  return await resendWithin(tx, { projectId: place.projectId, id: made }, options);
}

/** Locks the event against its removal until the transaction ends: cleanup leaves it alone, or it is found to be gone. */
async function lockEvent(tx: Prisma.TransactionClient, projectId: string, id: string): Promise<string | null> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from events where project_id = ${projectId}::uuid and id = ${id}::uuid for key share`;
  return rows[0]?.id ?? null;
}

/** Locks the delivery that there is of the two, before its webhook, as a resend does; gives its id. */
async function lockDelivery(tx: Prisma.TransactionClient, eventId: string, webhookId: string): Promise<string | null> {
  const rows = await tx.$queryRaw<{ id: string }[]>`
    select id from deliveries where event_id = ${eventId}::uuid and webhook_id = ${webhookId}::uuid for update`;
  return rows[0]?.id ?? null;
}

/** Locks the webhook against deletion, disabling and pausing: either that sees the delivery, or this sees that. */
async function lockWebhook(
  tx: Prisma.TransactionClient,
  { projectId, webhookId }: DeliveryPlace,
): Promise<LockedWebhook | null> {
  const rows = await tx.$queryRaw<LockedWebhook[]>`
    select status, max_attempts as "maxAttempts", now() as now from webhooks
    where project_id = ${projectId}::uuid and id = ${webhookId}::uuid and deleted_at is null
    for share`;
  return rows[0] ?? null;
}

/**
 * Inserts the delivery with an id of the database's, as an emit does, and with a due time from the start, since sweep may
 * have looked past that id when this commits. Null when there is one: a transaction that is making it is waited for.
 */
async function insertDelivery(
  tx: Prisma.TransactionClient,
  { projectId, eventId, webhookId }: DeliveryPlace,
  { status, maxAttempts, now }: LockedWebhook,
  defaultMaxAttempts: number,
): Promise<string | null> {
  const held = status === 'PAUSED';
  const rows = await tx.$queryRaw<{ id: string }[]>`
    insert into deliveries (id, project_id, event_id, webhook_id, status, max_attempts, trigger, due_at, held)
    values (posthorn_uuid_v7(), ${projectId}::uuid, ${eventId}::uuid, ${webhookId}::uuid, 'PENDING',
            ${maxAttempts ?? defaultMaxAttempts}::int, 'MANUAL', ${held ? null : now}::timestamptz, ${held})
    on conflict (event_id, webhook_id) do nothing
    returning id`;
  return rows[0]?.id ?? null;
}
