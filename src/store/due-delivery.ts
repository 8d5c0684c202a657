import { idFromUuid } from '../domain/ids.ts';
import type { DueDelivery } from '../domain/delivery.ts';

/** The columns of a delivery that make a hint. */
export interface DueRow {
  id: string;
  webhook_id: string;
}

/** The hint that a row is. */
export function dueDelivery(row: DueRow): DueDelivery {
  return { id: idFromUuid('delivery', row.id), webhookId: idFromUuid('webhook', row.webhook_id) };
}
