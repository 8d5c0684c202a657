import { randomUUID } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import { createPostgresBackend, Queue, withBackend } from 'bullmq';
import { idFromUuid } from '../../src/domain/ids.ts';
import type { DueDelivery } from '../../src/domain/delivery.ts';
import type { DeliveryId } from '../../src/domain/ids.ts';
import type { DeliveryConsumerOptions, QueueConnection } from '../../src/queue.ts';

/** Ids of deliveries that need not exist. */
export function newDeliveryIds(count: number): DeliveryId[] {
  return Array.from({ length: count }, () => idFromUuid('delivery', randomUUID()));
}

const webhookId = idFromUuid('webhook', randomUUID());

/** Hints for the deliveries, all of one webhook. */
export function due(ids: readonly DeliveryId[]): DueDelivery[] {
  return ids.map((id) => ({ id, webhookId }));
}

/** A consumer's handler that looks at ids only. */
export function takingIds(
  handle: (ids: DeliveryId[], signal: AbortSignal) => Promise<void>,
): DeliveryConsumerOptions['handle'] {
  return async (deliveries, _urgency, signal) =>
    await handle(
      deliveries.map(({ id }) => id),
      signal,
    );
}

/** A promise that the test settles. */
export function createGate(): { opened: Promise<void>; open: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

/** Whether the promise is still open after `ms`. */
export async function isPendingAfter(ms: number, promise: Promise<unknown>): Promise<boolean> {
  return await Promise.race([promise.then(() => false), after(ms, true)]);
}

/** BullMQ's own view of a queue of Posthorn's, to put in and see what the product never would. */
export async function withBullQueue<Value>(
  connection: QueueConnection,
  name: 'posthorn-deliveries' | 'posthorn-schedules',
  use: (
    queue: Pick<Queue<unknown>, 'add' | 'getJobSchedulers' | 'getJobCounts' | 'upsertJobScheduler'>,
  ) => Promise<Value>,
): Promise<Value> {
  const queue =
    connection.kind === 'redis'
      ? new Queue<unknown>(name, { connection: { url: connection.url }, prefix: connection.prefix ?? 'posthorn_queue' })
      : new (withBackend(createPostgresBackend).Queue)<unknown>(name, {
          connection: { connectionString: connection.url, schema: connection.schema ?? 'posthorn_queue', max: 1 },
        });
  try {
    return await use(queue);
  } finally {
    await queue.close();
  }
}
