import { tellOutage } from './tell-outage.ts';
import { Outage } from './outage.ts';
import { failFast, isRedisAway } from './queue-outage.ts';
import { startDeliveryQueue } from './queue.ts';
import { isDatabaseAway } from './store/database-away.ts';
import type { Logger } from 'pino';
import type { DeliveryQueue, QueueConnection } from './queue.ts';

/** Starts the producer with what knows whether the queue is away: while it is, hints fail at once. */
export async function startWatchedQueue(
  connection: QueueConnection,
  logger: Logger,
): Promise<{ queue: DeliveryQueue; queueOutage: Outage } & AsyncDisposable> {
  await using starting = new AsyncDisposableStack();
  const queueOutage: Outage = starting.use(
    new Outage({
      ...tellOutage(logger, 'queue'),
      isAway: (error) => isRedisAway(error) || (connection.kind === 'postgres' && isDatabaseAway(error)),
      probe: async () => await producer.ping(),
    }),
  );
  const onError = (error: Error): void => {
    if (!queueOutage.failed(error)) logger.warn({ err: error }, 'queue connection');
  };
  const producer = starting.use(await startDeliveryQueue(connection, { onError }));
  const owned = starting.move();
  return {
    queue: failFast(producer, queueOutage),
    queueOutage,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}
