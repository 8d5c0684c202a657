import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { Client } from 'pg';
import { migrateQueue } from '../../src/queue-backend.ts';
import { startDeliveryConsumer, startDeliveryQueue, startSchedules } from '../../src/queue.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { due, newDeliveryIds, takingIds } from '../support/queue.ts';
import type { DeliveryId } from '../../src/domain/ids.ts';
import type { QueueConnection } from '../../src/queue.ts';
import type { TestDatabase } from '../support/postgres.ts';

const limit = { timeout: 15_000, interval: 10 };

let database: TestDatabase;
let connection: QueueConnection;
let errors: Error[];
let schemaCount = 0;
const onError = (error: Error): void => void errors.push(error);
const nothing = async (): Promise<void> => {};

beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => await database[Symbol.asyncDispose]());
beforeEach(() => {
  schemaCount += 1;
  connection = { kind: 'postgres', url: database.url, schema: `queue_${schemaCount}` };
  errors = [];
});

async function ask<Row extends object>(statement: string): Promise<Row[]> {
  const client = new Client({ connectionString: database.url });
  await client.connect();
  try {
    return (await client.query<Row>(statement)).rows;
  } finally {
    await client.end();
  }
}

test('ten migrations at once make one schema', async () => {
  await Promise.all(Array.from({ length: 10 }, async () => await migrateQueue(connection)));
  await using queue = await startDeliveryQueue(connection, { onError });
  await queue.enqueue(due(newDeliveryIds(1)));
  expect(await queue.countReady()).toBe(1);
});

test('everything that starts says so when the schema was not migrated', async () => {
  const message = /posthorn_queue|queue_\d+.*not initialized/;
  await expect(startDeliveryQueue(connection, { onError })).rejects.toThrow(message);
  await expect(startDeliveryConsumer(connection, { jobConcurrency: 1, onError, handle: nothing })).rejects.toThrow(
    message,
  );
  await expect(startSchedules(connection, [], { onError })).rejects.toThrow(message);
});

test('producer, consumer and schedules go on after the server has ended their connections', async () => {
  await migrateQueue(connection);
  const handled: DeliveryId[] = [];
  let runCount = 0;
  await using queue = await startDeliveryQueue(connection, { onError });
  await using _consumer = await startDeliveryConsumer(connection, {
    jobConcurrency: 2,
    onError,
    handle: takingIds(async (ids) => void handled.push(...ids)),
  });
  const tick = { name: 'tick', everyMs: 100, run: async () => void (runCount += 1) };
  await using _host = await startSchedules(connection, [tick], { onError, reconcileMs: 200 });
  const [before, later, delayed] = [newDeliveryIds(1), newDeliveryIds(1), newDeliveryIds(1)];
  await queue.enqueue(due(before));
  await vi.waitFor(() => expect(handled).toEqual(before), limit);

  await ask(`select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()`);
  await vi.waitFor(async () => await queue.enqueue(due(later)), limit);
  await queue.enqueue(due(delayed), { delayMs: 100 });
  await vi.waitFor(() => expect(handled).toEqual([...before, ...later, ...delayed]), limit);
  const runCountThen = runCount;
  await vi.waitFor(() => expect(runCount).toBeGreaterThanOrEqual(runCountThen + 3), limit);
  // One report per lost connection and call, not a loop that spins.
  expect(errors.length).toBeLessThan(30);
});

test('an idle producer, consumer and schedule host hold few connections', async () => {
  await migrateQueue(connection);
  const handled: DeliveryId[] = [];
  await using queue = await startDeliveryQueue(connection, { onError });
  await using _consumer = await startDeliveryConsumer(connection, {
    jobConcurrency: 50,
    onError,
    handle: takingIds(async (ids) => void handled.push(...ids)),
  });
  await using _host = await startSchedules(connection, [], { onError });
  await queue.enqueue(due(newDeliveryIds(2000)));
  await vi.waitFor(() => expect(handled).toHaveLength(2000), limit);
  const [row] = await ask<{ count: number }>(
    `select count(*)::int as count from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()`,
  );
  // At most 2 of each queue, 4 of each worker, and each worker's listener.
  expect(row?.count).toBeLessThanOrEqual(14);
});
