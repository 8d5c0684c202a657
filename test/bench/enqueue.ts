import type { DeliveryQueue } from '../../src/queue.ts';
import type { CreatedDelivery } from '../../src/store/emit-event.ts';

/** Hints the workers that the deliveries are due, as the gateway does after an emit. */
export async function enqueueDeliveries(queue: DeliveryQueue, deliveries: readonly CreatedDelivery[]): Promise<void> {
  await queue.enqueue(deliveries.filter(({ held }) => !held));
}
