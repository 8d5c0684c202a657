import type { Delivery, Prisma } from '../../prisma/generated/client/client.ts';
import type { DeliveryStatus } from '../domain/delivery.ts';
import { type DeliveryId, type ProjectId, uuidOf } from '../domain/ids.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';

/** Where a webhook stands; a deleted one stands nowhere. */
export type WebhookStatus = 'ACTIVE' | 'FAILING' | 'PAUSED' | 'DISABLED';

/**
 * What became of a resend. `in-flight`: an attempt is being made this moment; nothing changed.
 * `webhook-unavailable`: its webhook is disabled or deleted; nothing changed.
 */
export type ResendResult =
  | { kind: 'resent'; delivery: Delivery }
  | { kind: 'not-found' }
  | { kind: 'in-flight' }
  | { kind: 'webhook-unavailable'; status: WebhookStatus | 'DELETED' };

export interface ResendOptions {
  /** Attempts of a round for webhooks that set none themselves. */
  defaultMaxAttempts: number;
  /** A claim older than this belongs to a worker that is gone (src/domain/claim-lease.ts). */
  claimLeaseMs: number;
  actor: Actor;
}

interface Target {
  status: DeliveryStatus;
  attemptCount: number;
  claimIsStale: boolean;
  webhookStatus: WebhookStatus;
  webhookMaxAttempts: number | null;
  webhookDeleted: boolean;
  now: Date;
}

/**
 * Sends a delivery again, wherever it stands: it is due now and starts a new round of its retry schedule, with the full
 * number of attempts before it. A paused webhook's delivery is held until that is resumed.
 */
export async function resendDelivery(
  db: Database,
  projectId: ProjectId,
  deliveryId: DeliveryId,
  options: ResendOptions,
): Promise<ResendResult> {
  const delivery = { projectId: uuidOf(projectId), id: uuidOf(deliveryId) };
  return await db.prisma.$transaction(async (tx) => {
    const result = await resendWithin(tx, delivery, options);
    if (result.kind === 'resent') {
      await recordAudit(tx, projectId, options.actor, { action: 'resendDelivery', targetId: deliveryId });
    }
    return result;
  });
}

/** Does it in a transaction that does more. */
export async function resendWithin(
  tx: Prisma.TransactionClient,
  { projectId, id }: { projectId: string; id: string },
  { defaultMaxAttempts, claimLeaseMs }: ResendOptions,
): Promise<ResendResult> {
  const target = await lockTarget(tx, { projectId, id, claimLeaseMs });
  if (target === null) return { kind: 'not-found' };
  const refusal = refusalOf(target);
  if (refusal !== null) return refusal;
  const delivery = await tx.delivery.update({
    where: { id },
    data: {
      status: 'PENDING',
      trigger: 'MANUAL',
      roundStart: target.attemptCount,
      maxAttempts: target.attemptCount + (target.webhookMaxAttempts ?? defaultMaxAttempts),
      dueAt: target.now,
      // A worker that is not gone after all no longer holds the claim, and records nothing.
      claimedAt: null,
      held: false,
      failureReason: null,
      finishedAt: null,
    },
  });
  return { kind: 'resent', delivery };
}

/**
 * Locks the delivery against claims and other resends, and its webhook against deletion and disabling, until the
 * transaction ends: either that sees this resend, or this resend sees that.
 */
async function lockTarget(
  tx: Prisma.TransactionClient,
  { projectId, id, claimLeaseMs }: { projectId: string; id: string; claimLeaseMs: number },
): Promise<Target | null> {
  const rows = await tx.$queryRaw<Target[]>`
    select d.status, d.attempt_count as "attemptCount",
      coalesce(d.claimed_at < now() - make_interval(secs => ${claimLeaseMs / 1000}::float8), true) as "claimIsStale",
      w.status as "webhookStatus", w.max_attempts as "webhookMaxAttempts",
      w.deleted_at is not null as "webhookDeleted", now() as now
    from deliveries d join webhooks w on w.id = d.webhook_id
    where d.project_id = ${projectId}::uuid and d.id = ${id}::uuid
    for update of d for share of w`;
  return rows[0] ?? null;
}

function refusalOf(target: Target): ResendResult | null {
  if (target.webhookDeleted) return { kind: 'webhook-unavailable', status: 'DELETED' };
  if (target.webhookStatus === 'DISABLED') return { kind: 'webhook-unavailable', status: 'DISABLED' };
  if (target.status === 'DELIVERING' && !target.claimIsStale) return { kind: 'in-flight' };
  return null;
}
