import { type DeliveryStatus, deliveryStatuses } from '../domain/delivery.ts';
import { type ProjectId, uuidOf } from '../domain/ids.ts';
import type { Database } from './database.ts';

/** How many of a project's deliveries stand where. */
export interface Ledger {
  /** All of them: the sum of the counts. */
  accepted: number;
  /** A count for every status, 0 where there is none. */
  counts: Record<DeliveryStatus, number>;
}

/** Counts the project's deliveries by status, as of one instant. It reads them all: not for the hot path. */
export async function ledger(db: Database, projectId: ProjectId): Promise<Ledger> {
  const groups = await db.prisma.delivery.groupBy({
    by: ['status'],
    where: { projectId: uuidOf(projectId) },
    _count: true,
  });
  const counts: Record<DeliveryStatus, number> = {
    PENDING: 0,
    DELIVERING: 0,
    DELIVERED: 0,
    RETRYING: 0,
    FAILED: 0,
    SKIPPED: 0,
    CANCELLED: 0,
  };
  for (const group of groups) counts[group.status] = group._count;
  const accepted = deliveryStatuses.reduce((sum, status) => sum + counts[status], 0);
  return { accepted, counts };
}
