import { once } from 'node:events';
import { createServer } from 'node:net';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { startDeliveryConsumer, startDeliveryQueue, startSchedules } from '../../src/queue.ts';
import { due, newDeliveryIds, takingIds } from '../support/queue.ts';
import { startTestRedis } from '../support/redis.ts';
import type { DeliveryId } from '../../src/domain/ids.ts';
import type { QueueConnection } from '../../src/queue.ts';
import type { TestRedis } from '../support/redis.ts';

const nothing = async (): Promise<void> => {};
const limit = { timeout: 15_000, interval: 10 };

let redis: TestRedis;
let connection: QueueConnection;
let errors: Error[];
const onError = (error: Error): void => void errors.push(error);

beforeEach(async () => {
  redis = await startTestRedis();
  connection = { kind: 'redis', url: redis.url };
  errors = [];
});
afterEach(async () => await redis[Symbol.asyncDispose]());

async function msUntilRejected(promise: Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await expect(promise).rejects.toBeInstanceOf(Error);
  return performance.now() - startedAt;
}

test('every call of the producer rejects within 2 s when Redis dies, and works again when it is back', async () => {
  await using queue = await startDeliveryQueue(connection, { onError });
  await queue.enqueue(due(newDeliveryIds(1)));
  await redis.kill();
  const calls = [queue.enqueue(due(newDeliveryIds(1))), queue.countReady(), queue.ping()];
  const times = await Promise.all(calls.map(msUntilRejected));
  expect(Math.max(...times)).toBeLessThan(2500);
  await using _again = await startTestRedis({ port: redis.port });
  await vi.waitFor(async () => await queue.ping(), limit);
  await queue.enqueue(due(newDeliveryIds(1)));
  expect(await queue.countReady()).toBe(1);
});

test('a producer starts while Redis is down, and connects when it is there', async () => {
  await redis.kill();
  await using queue = await startDeliveryQueue(connection, { onError });
  expect(await msUntilRejected(queue.enqueue(due(newDeliveryIds(1))))).toBeLessThan(2500);
  expect(errors.length).toBeGreaterThan(0);
  await using _again = await startTestRedis({ port: redis.port });
  await vi.waitFor(async () => await queue.enqueue(due(newDeliveryIds(1))), limit);
  expect(await queue.countReady()).toBe(1);
});

test('the producer does not hang on a server that accepts and never answers', async () => {
  const server = createServer((socket) => socket.resume().on('error', () => {})).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const queue = await startDeliveryQueue({ kind: 'redis', url: `redis://127.0.0.1:${port}` }, { onError });
  const calls = Array.from({ length: 3 }, async () => await msUntilRejected(queue.enqueue(due(newDeliveryIds(1)))));
  expect(Math.max(...(await Promise.all(calls)))).toBeLessThan(2500);
  await queue[Symbol.asyncDispose]();
  server.close();
  await once(server, 'close'); // every socket is closed
});

test('a consumer goes on after Redis has restarted empty', async () => {
  const handled: DeliveryId[] = [];
  await using queue = await startDeliveryQueue(connection, { onError });
  await using _consumer = await startDeliveryConsumer(connection, {
    jobConcurrency: 2,
    onError,
    handle: takingIds(async (ids) => void handled.push(...ids)),
  });
  const [before, later] = [newDeliveryIds(1), newDeliveryIds(1)];
  await queue.enqueue(due(before));
  await vi.waitFor(() => expect(handled).toEqual(before), limit);
  await redis.kill();
  await using _again = await startTestRedis({ port: redis.port });
  await vi.waitFor(async () => await queue.enqueue(due(later)), limit);
  await vi.waitFor(() => expect(handled).toEqual([...before, ...later]), limit);
});

test('a consumer whose handler runs while Redis restarts finishes it and goes on', async () => {
  const handled: DeliveryId[] = [];
  const { promise: restarted, resolve: restart } = Promise.withResolvers<void>();
  const { promise: started, resolve: start } = Promise.withResolvers<void>();
  await using queue = await startDeliveryQueue(connection, { onError });
  await using _consumer = await startDeliveryConsumer(connection, {
    jobConcurrency: 1,
    onError,
    handle: takingIds(async (ids) => {
      start();
      await restarted;
      handled.push(...ids);
    }),
  });
  const [before, later] = [newDeliveryIds(1), newDeliveryIds(1)];
  await queue.enqueue(due(before));
  await started;
  await redis.kill();
  await using _again = await startTestRedis({ port: redis.port });
  restart();
  await vi.waitFor(async () => await queue.enqueue(due(later)), limit);
  await vi.waitFor(() => expect(handled).toEqual([...before, ...later]), limit);
});

test('an idle consumer and an idle schedule host close quickly while Redis is down', async () => {
  const consumer = await startDeliveryConsumer(connection, { jobConcurrency: 1, onError, handle: nothing });
  const host = await startSchedules(connection, [{ name: 'tick', everyMs: 3_600_000, run: nothing }], { onError });
  await redis.kill();
  const startedAt = performance.now();
  await Promise.all([consumer[Symbol.asyncDispose](), host[Symbol.asyncDispose]()]);
  expect(performance.now() - startedAt).toBeLessThan(9000);
});

test('schedules come back after Redis was emptied', async () => {
  let runCount = 0;
  const schedule = { name: 'tick', everyMs: 100, run: async () => void (runCount += 1) };
  await using _host = await startSchedules(connection, [schedule], { onError, reconcileMs: 100 });
  await vi.waitFor(() => expect(runCount).toBeGreaterThanOrEqual(2), limit);
  const client = new Redis(redis.url);
  await client.flushall();
  await client.quit();
  const runCountThen = runCount;
  await vi.waitFor(() => expect(runCount).toBeGreaterThanOrEqual(runCountThen + 4), limit);
});
