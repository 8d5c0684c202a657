import type { Webhook } from '../../prisma/generated/client/client.ts';
import { type DeliveryId, type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import type { Database } from './database.ts';
import { releaseDeliveriesOf, releaseStepMax } from './held-deliveries.ts';

/** Steps of one resumption; sweep releases what is left. */
const releaseStepsMax = 20;

/**
 * Pauses a webhook: its deliveries wait until it is resumed. Gives it as it now is, or null when the project has no such
 * webhook. A webhook that is paused or disabled already stays as it is.
 */
export async function pauseWebhook(db: Database, projectId: ProjectId, webhookId: WebhookId): Promise<Webhook | null> {
  const webhook = { id: uuidOf(webhookId), projectId: uuidOf(projectId), deletedAt: null };
  const [paused] = await db.prisma.webhook.updateManyAndReturn({
    where: { ...webhook, status: { in: ['ACTIVE', 'FAILING'] } },
    data: { status: 'PAUSED', statusReason: 'PAUSED_BY_USER', statusChangedAt: new Date() },
  });
  return paused ?? (await db.prisma.webhook.findFirst({ where: webhook }));
}

/**
 * Makes a paused or disabled webhook active again and releases what it held. Gives the webhook as it now is and the
 * first released deliveries, at most 1,000, oldest first, to enqueue; sweep enqueues the others, which are due too. Null
 * when the project has no such webhook. A webhook that is not paused or disabled keeps its status.
 */
export async function resumeWebhook(
  db: Database,
  projectId: ProjectId,
  webhookId: WebhookId,
): Promise<{ webhook: Webhook; released: DeliveryId[] } | null> {
  const where = { id: uuidOf(webhookId), projectId: uuidOf(projectId), deletedAt: null };
  const [resumed] = await db.prisma.webhook.updateManyAndReturn({
    where: { ...where, status: { in: ['PAUSED', 'DISABLED'] } },
    data: { status: 'ACTIVE', statusReason: null, statusChangedAt: new Date() },
  });
  const webhook = resumed ?? (await db.prisma.webhook.findFirst({ where }));
  if (webhook === null) return null;
  // Only after the status has committed: what a claim holds from here on, its snapshot was older (held-deliveries.ts).
  const released = await releaseDeliveriesOf(db, webhookId, null);
  let last = released;
  for (let step = 1; step < releaseStepsMax && last.length === releaseStepMax; step += 1) {
    // From where the last step ended: from the start again, each would wade through the index entries of all before it.
    last = await releaseDeliveriesOf(db, webhookId, last.at(-1) ?? null);
  }
  return { webhook, released };
}

/**
 * Disables a webhook for the reason and gives it, or null when nothing changed: it was disabled or deleted already, or
 * the project has none such. For the worker: on the pipeline pool.
 */
export async function disableWebhook(
  db: Database,
  projectId: ProjectId,
  webhookId: WebhookId,
  reason: string,
): Promise<Webhook | null> {
  const { rows } = await db.pipeline.query<Webhook>({
    name: 'disable-webhook',
    text: `update webhooks
      set status = 'DISABLED', status_reason = $3, status_changed_at = now(), updated_at = now()
      where project_id = $1 and id = $2 and deleted_at is null and status <> 'DISABLED'
      returning id, project_id as "projectId", name, description, url, event_types as "eventTypes", status,
        status_reason as "statusReason", status_changed_at as "statusChangedAt", headers,
        signature_style as "signatureStyle", max_attempts as "maxAttempts", retry_schedule as "retrySchedule",
        rate_limit_per_second as "rateLimitPerSecond", created_at as "createdAt", updated_at as "updatedAt",
        deleted_at as "deletedAt"`,
    values: [uuidOf(projectId), uuidOf(webhookId), reason],
  });
  return rows[0] ?? null;
}
