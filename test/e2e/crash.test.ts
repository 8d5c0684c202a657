import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { setTimeout as after } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { countDeliveries, createWebhook, emit } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { createStack, deploy, startOn } from '../support/e2e-stack.ts';
import type { E2eStack, RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import type { ReceivedRequest, Receiver } from '../support/receiver.ts';

const webhookCount = 20;
const eventCount = 25;
const deliveryCount = webhookCount * eventCount;
const receivedBeforeTrouble = 150;
const inFlightMax = 64;
/** What may be under way in a worker: those that take longer than a second make room, up to four times the limit. */
const underWayMax = inFlightMax * 4;
/** A claim of a dead worker counts as abandoned after three times the timeout and a second. */
const quickTimeouts = { WORKER_MAX_IN_FLIGHT: String(inFlightMax), WEBHOOK_TIMEOUT: '4' };
const arrivalLimitMs = 45_000;

/** A receiver that takes about 20 ms for a request, and none before `open`. */
async function startSlowReceiver(): Promise<Receiver & { open: () => void }> {
  const gate = Promise.withResolvers<void>();
  const receiver = await startReceiver(async () => {
    await gate.promise;
    await after(20);
    return {};
  });
  return { ...receiver, open: gate.resolve };
}

function byDelivery(requests: readonly ReceivedRequest[]): ReceivedRequest[][] {
  return [...Map.groupBy(requests, ({ headers }) => headers['x-posthorn-delivery'] ?? '').values()];
}

/** Webhooks that all get the same events. */
async function createWebhooks(client: ApiClient, name: string, url: string): Promise<{ ids: string[]; type: string }> {
  const made = Array.from({ length: webhookCount }, async () => await createWebhook(client, name, { url }));
  const webhooks = await Promise.all(made);
  return { ids: webhooks.map(({ webhook }) => webhook.id), type: webhooks[0]?.eventType ?? '' };
}

/** Emits events to webhooks while the receiver holds its answers, so that all of them are under way when it opens. */
async function emitToAll(client: ApiClient, name: string, url: string): Promise<string[]> {
  const { ids, type } = await createWebhooks(client, name, url);
  const emitted = Array.from({ length: eventCount }, async (_, number) => await emit(client, type, { number }));
  expect((await Promise.all(emitted)).flatMap(({ deliveryIds }) => deliveryIds)).toHaveLength(deliveryCount);
  return ids;
}

async function untilAllDelivered(client: ApiClient, webhookIds: string[]): Promise<void> {
  await untilFound(
    'all deliveries to be delivered',
    async () =>
      (await countDeliveries(client, ['DELIVERED'], webhookIds))['DELIVERED'] === deliveryCount ? true : null,
    arrivalLimitMs,
  );
}

/** Every delivery is in exactly one status, and that is DELIVERED. */
async function expectLedger(client: ApiClient, webhookIds: string[]): Promise<void> {
  const others = ['PENDING', 'DELIVERING', 'RETRYING', 'FAILED', 'SKIPPED', 'CANCELLED'] as const;
  expect(await countDeliveries(client, ['DELIVERED', ...others], webhookIds)).toEqual({
    all: deliveryCount,
    DELIVERED: deliveryCount,
    ...Object.fromEntries(others.map((status) => [status, 0])),
  });
}

/** All deliveries came; those that came twice were under way, and say so by their id. Prints how many, and gives it. */
function expectEachArrived(receiver: Receiver, killed: string): number {
  const deliveries = byDelivery(receiver.requests);
  const duplicateCount = receiver.requests.length - deliveries.length;
  process.stdout.write(
    `kill -9 (${killed}): ${deliveries.length} of ${deliveryCount} arrived, ${duplicateCount} of them twice; ` +
      `at most ${underWayMax} were under way\n`,
  );
  expect(deliveries).toHaveLength(deliveryCount);
  expect(duplicateCount).toBeLessThanOrEqual(underWayMax);
  for (const requests of deliveries) {
    expect(requests.length).toBeLessThanOrEqual(2);
    expect(new Set(requests.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(new Set(requests.map(({ body }) => body)).size).toBe(1);
  }
  return duplicateCount;
}

describe.each(['embedded', 'redis'] as const)('trouble while 500 deliveries are under way (%s)', (kind) => {
  let stack: E2eStack;

  beforeAll(async () => {
    stack = await createStack(kind, quickTimeouts);
  });

  afterAll(async () => {
    await stack[Symbol.asyncDispose]();
  });

  test('kill -9 of the whole process and a restart: all 500 arrive, and only what was under way comes twice', async () => {
    await using receiver = await startSlowReceiver();
    const killed = await startOn(stack);
    let webhookIds: string[];
    {
      await using client = createApiClient(killed, killed.apiKey);
      webhookIds = await emitToAll(client, 'Killed', receiver.url);
    }
    receiver.open();
    await receiver.waitFor(receivedBeforeTrouble, 15_000);
    await killed.end('SIGKILL');
    expect(receiver.requests.length).toBeLessThan(deliveryCount);

    await using restarted = await startOn(stack);
    await using client = createApiClient(restarted, restarted.apiKey);
    await untilAllDelivered(client, webhookIds);
    expectEachArrived(receiver, kind);
    await expectLedger(client, webhookIds);
  });
});

describe('trouble while 500 deliveries are under way (gateway and workers on redis)', () => {
  let posthorn: RunningPosthorn;
  let client: ApiClient;

  beforeAll(async () => {
    posthorn = await deploy('gateway and workers on redis', { ...quickTimeouts, WORKER_JOB_CONCURRENCY: '3' });
    client = createApiClient(posthorn, posthorn.apiKey);
  });

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await posthorn[Symbol.asyncDispose]();
  });

  test('a queue emptied in the middle: everything still arrives, each delivery once', async () => {
    await using receiver = await startSlowReceiver();
    const webhookIds = await emitToAll(client, 'Flushed', receiver.url);
    receiver.open();
    await receiver.waitFor(receivedBeforeTrouble, 15_000);
    await flushAll(posthorn.durableRedisUrl ?? '');
    expect(receiver.requests.length).toBeLessThan(deliveryCount);
    await untilAllDelivered(client, webhookIds);
    expect(receiver.requests).toHaveLength(deliveryCount);
    expect(byDelivery(receiver.requests)).toHaveLength(deliveryCount);
    await expectLedger(client, webhookIds);
  });

  test('kill -9 of one of two workers: the other one delivers what it held', async () => {
    await using receiver = await startSlowReceiver();
    const { ids: webhookIds, type } = await createWebhooks(client, 'Orphaned', receiver.url);
    // One after the other, each event is one job of 20 deliveries, one for each webhook: both workers hold some at 100.
    for (let number = 1; number <= eventCount; number += 1) await emit(client, type, { number });
    await receiver.waitFor(100, 15_000);
    posthorn.workers[0]?.kill('SIGKILL');
    receiver.open();
    await untilAllDelivered(client, webhookIds);
    const duplicateCount = expectEachArrived(receiver, 'one worker');
    expect(duplicateCount).toBeGreaterThan(0);
    expect(duplicateCount).toBeLessThanOrEqual(underWayMax);
    await expectLedger(client, webhookIds);
  });
});

async function flushAll(url: string): Promise<void> {
  const redis = new Redis(url);
  try {
    await redis.flushall();
  } finally {
    await redis.quit();
  }
}
