import type { DeliveryId } from './domain/ids.ts';

// CONTRACT (implementation pending)

/** Deliveries that one job carries at most. */
export const deliveriesPerJobMax = 50;

/** Where hints that deliveries are due are put and taken. Hints may be lost, doubled or late: Postgres is the truth. */
export interface DeliveryQueue extends AsyncDisposable {
  /** Adds jobs for the deliveries, at most 50 in each, to run after `delayMs` (default 0). Concurrent calls are coalesced into one bulk add. */
  enqueue(deliveryIds: readonly DeliveryId[], delayMs?: number): Promise<void>;
  /** Jobs waiting or running, delayed ones not counted. */
  countReady(): Promise<number>;
  ping(): Promise<void>;
}
