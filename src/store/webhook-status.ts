import type { Webhook } from '../../prisma/generated/client/client.ts';
import { type DeliveryId, type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { takeHeldDeliveries } from './held-deliveries.ts';

/** Held deliveries that a resumption releases; the worker that gets them goes on with the others. */
const resumedMax = 50;

/**
 * Pauses a webhook: its deliveries wait until it is resumed. Gives it as it now is, or null when the project has no such
 * webhook. A webhook that is paused or disabled already stays as it is.
 */
export async function pauseWebhook(
  db: Database,
  projectId: ProjectId,
  webhookId: WebhookId,
  actor: Actor,
): Promise<Webhook | null> {
  const webhook = { id: uuidOf(webhookId), projectId: uuidOf(projectId), deletedAt: null };
  return await db.prisma.$transaction(async (tx) => {
    const [paused] = await tx.webhook.updateManyAndReturn({
      where: { ...webhook, status: { in: ['ACTIVE', 'FAILING'] } },
      data: { status: 'PAUSED', statusReason: 'PAUSED_BY_USER', statusChangedAt: new Date() },
    });
    if (paused === undefined) return await tx.webhook.findFirst({ where: webhook });
    await recordAudit(tx, projectId, actor, { action: 'pauseWebhook', targetId: webhookId });
    return paused;
  });
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
  actor: Actor,
): Promise<{ webhook: Webhook; released: DeliveryId[] } | null> {
  const where = { id: uuidOf(webhookId), projectId: uuidOf(projectId), deletedAt: null };
  const webhook = await db.prisma.$transaction(async (tx) => {
    const [resumed] = await tx.webhook.updateManyAndReturn({
      where: { ...where, status: { in: ['PAUSED', 'DISABLED', 'FAILING'] } },
      data: { status: 'ACTIVE', statusReason: null, statusChangedAt: new Date(), ...closedCircuit },
    });
    if (resumed === undefined) return await tx.webhook.findFirst({ where });
    await recordAudit(tx, projectId, actor, { action: 'resumeWebhook', targetId: webhookId });
    return resumed;
  });
  if (webhook === null) return null;
  // Only after the status has committed: what a claim holds from here on, its snapshot was older (held-deliveries.ts).
  return { webhook, released: await takeHeldDeliveries(db, webhookId, resumedMax) };
}

const closedCircuit = { circuitOpenedAt: null, circuitOpenUntil: null, circuitOpenCount: 0 } as const;
