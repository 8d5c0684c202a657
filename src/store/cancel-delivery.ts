import type { Delivery, Prisma } from '../../prisma/generated/client/client.ts';
import { type DeliveryStatus, hasEnded } from '../domain/delivery.ts';
import { type DeliveryId, type ProjectId, uuidOf } from '../domain/ids.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';

/** What became of a cancellation. `ended`: the delivery had ended before; nothing changed. */
export type CancelResult =
  | { kind: 'cancelled'; delivery: Delivery }
  | { kind: 'not-found' }
  | { kind: 'ended'; status: DeliveryStatus };

interface Target {
  status: DeliveryStatus;
  attemptCount: number;
  now: Date;
}

/**
 * Stops a delivery that has not ended: no further attempt of it begins. One that is under way cannot be taken back: its
 * claim is lost here, so it is recorded (record-attempts.ts) and decides nothing, whatever its answer. It counts from now
 * on, so that a resend's first attempt gets a number of its own and a whole round follows.
 */
export async function cancelDelivery(
  db: Database,
  projectId: ProjectId,
  deliveryId: DeliveryId,
  actor: Actor,
): Promise<CancelResult> {
  const id = uuidOf(deliveryId);
  return await db.prisma.$transaction(async (tx): Promise<CancelResult> => {
    const target = await lockTarget(tx, uuidOf(projectId), id);
    if (target === null) return { kind: 'not-found' };
    if (hasEnded(target.status)) return { kind: 'ended', status: target.status };
    const delivery = await tx.delivery.update({
      where: { id },
      data: {
        status: 'CANCELLED',
        attemptCount: target.attemptCount + (target.status === 'DELIVERING' ? 1 : 0),
        failureReason: 'CANCELLED_BY_USER',
        finishedAt: target.now,
        dueAt: null,
        claimedAt: null,
        held: false,
      },
    });
    await recordAudit(tx, projectId, actor, { action: 'cancelDelivery', targetId: deliveryId });
    return { kind: 'cancelled', delivery };
  });
}

/** Locks the delivery against claims, records and resends until the transaction ends: either comes wholly before the other. */
async function lockTarget(tx: Prisma.TransactionClient, projectId: string, id: string): Promise<Target | null> {
  const rows = await tx.$queryRaw<Target[]>`
    select status, attempt_count as "attemptCount", now() as now
    from deliveries where project_id = ${projectId}::uuid and id = ${id}::uuid
    for update`;
  return rows[0] ?? null;
}
