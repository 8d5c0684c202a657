import type { Webhook } from '../../prisma/generated/client/client.ts';
import { type DeliveryId, type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import type { Database } from './database.ts';
import { takeHeldDeliveries } from './held-deliveries.ts';

/** Held deliveries that a resumption releases; the worker that gets them goes on with the others. */
const resumedMax = 50;

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
 * Makes a webhook that is paused, disabled or failing active again, and lets the first 50 deliveries through that it held:
 * gives it as it now is and these, oldest first, to enqueue as released. The worker that gets them goes on with the
 * others. Null when the project has no such webhook. A webhook that is active stays as it is.
 */
export async function resumeWebhook(
  db: Database,
  projectId: ProjectId,
  webhookId: WebhookId,
): Promise<{ webhook: Webhook; released: DeliveryId[] } | null> {
  const where = { id: uuidOf(webhookId), projectId: uuidOf(projectId), deletedAt: null };
  const [resumed] = await db.prisma.webhook.updateManyAndReturn({
    where: { ...where, status: { in: ['PAUSED', 'DISABLED', 'FAILING'] } },
    data: { status: 'ACTIVE', statusReason: null, statusChangedAt: new Date(), ...closedCircuit },
  });
  const webhook = resumed ?? (await db.prisma.webhook.findFirst({ where }));
  if (webhook === null) return null;
  // Only after the status has committed: what a claim holds from here on, its snapshot was older (held-deliveries.ts).
  return { webhook, released: await takeHeldDeliveries(db, webhookId, resumedMax) };
}

const closedCircuit = { circuitOpenedAt: null, circuitOpenUntil: null, circuitOpenCount: 0 } as const;
