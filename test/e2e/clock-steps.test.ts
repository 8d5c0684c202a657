import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as after } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createWebhook, emitOne, untilStatus, watchFeed } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { startFaultWorld } from '../support/fault-world.ts';
import { startReceiver } from '../support/receiver.ts';
import { setClock, shiftedClockEnv } from '../support/shifted-clock.ts';
import type { FaultWorld } from '../support/fault-world.ts';
import type { ReceivedRequest } from '../support/receiver.ts';

// A gateway whose clock steps, and two workers whose clocks are an hour ahead and an hour behind. The database's is right.

const hourMs = 3_600_000;
let folder: string;
let world: FaultWorld;
let gatewayClock: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'posthorn-clocks-'));
  const file = async (name: string, offMs: number): Promise<string> => {
    const place = path.join(folder, name);
    await setClock(place, offMs);
    return place;
  };
  gatewayClock = await file('gateway', 0);
  world = await startFaultWorld({
    gateway: shiftedClockEnv(gatewayClock),
    'first worker': { ...shiftedClockEnv(await file('ahead', hourMs)), POSTHORN_BRAND: 'ahead' },
    'second worker': { ...shiftedClockEnv(await file('behind', -hourMs)), POSTHORN_BRAND: 'behind' },
  });
}, 120_000);
afterAll(async () => {
  await world?.[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

/** BullMQ orders delayed jobs by the instant that they are due at, shifted by 12 bits, and then by their order. */
const jobScorePerMs = 0x1000;

test('workers whose clocks are two hours apart sign by the database’s, and neither takes what the other has', async () => {
  await using receiver = await startReceiver(async () => {
    await after(200);
    return {};
  });
  const webhook = { url: receiver.url, signatureStyle: 'TIMESTAMPED_HEX' } as const;
  const { eventType } = await createWebhook(world.client, 'Apart', webhook);
  const senders = (): Set<string> => new Set(receiver.requests.map(senderOf));
  const emitted: string[] = [];
  await untilFound('both workers to send', async () => {
    emitted.push(
      ...(await Promise.all(Array.from({ length: 10 }, async () => await emitOne(world.client, eventType)))),
    );
    return senders().size >= 2 ? true : null;
  });
  for (const id of emitted) await untilStatus(world.client, id, 'DELIVERED');
  expect(senders()).toEqual(new Set(['ahead', 'behind']));
  expect(receiver.requests.map(({ headers }) => headers['x-posthorn-delivery'] ?? '').toSorted()).toEqual(
    emitted.toSorted(),
  );
  for (const { headers, receivedAt } of receiver.requests) {
    const signature = headers['x-ahead-signature'] ?? headers['x-behind-signature'];
    const signedAtMs = Number(/^t=(\d+),/.exec(signature ?? '')?.[1]) * 1_000;
    expect(Math.abs(signedAtMs - receivedAt.getTime())).toBeLessThan(10_000);
  }
});

test('a retry keeps its time by the database’s clock: none is sent an hour early, and a lost one is found', async () => {
  await using receiver = await startReceiver((_request, index) => ({ status: index < 2 ? 500 : 200 }));
  const retrySchedule = [3, 1800];
  const { eventType } = await createWebhook(world.client, 'Retried', { url: receiver.url, retrySchedule });
  const id = await emitOne(world.client, eventType);
  const [first, second] = await receiver.waitFor(2, 15_000);
  const waitedMs = (second?.receivedAt.getTime() ?? 0) - (first?.receivedAt.getTime() ?? 0);
  // 3 s ± 20 %, of which the claim spares a second.
  expect(waitedMs).toBeGreaterThan(1_390);
  expect(waitedMs).toBeLessThan(12_000);
  // When the worker that is behind enqueued the next one, its job is due at once for the other, which the claim refuses.
  const redis = new Redis(world.redis.url);
  const soon = (Date.now() + 20 * 60_000) * jobScorePerMs;
  await untilFound('an early job to be taken', async () =>
    (await redis.zcount('posthorn_queue:posthorn-deliveries:delayed', 0, soon)) === 0 ? true : null,
  );
  await redis.quit();
  const retrying = await untilStatus(world.client, id, 'RETRYING');
  expect(new Date(String(retrying.nextAttemptAt)).getTime() - Date.now()).toBeGreaterThan(20 * 60_000);
  expect(receiver.requests).toHaveLength(2);
});

test('schedules tick for workers whose clocks are two hours apart: sweep finds what was lost', async () => {
  await using receiver = await startReceiver();
  const { eventType } = await createWebhook(world.client, 'Swept', { url: receiver.url });
  await world.killRedis();
  const id = await emitOne(world.client, eventType);
  await world.startRedis();
  await untilStatus(world.client, id, 'DELIVERED');
  expect(receiver.requests).toHaveLength(1);
});

test('a gateway whose clock steps by an hour, there and back, keeps its sockets, keys, feeds and emits', async () => {
  await using receiver = await startReceiver();
  const { webhook, eventType } = await createWebhook(world.client, 'Stepped', { url: receiver.url });
  using feed = await watchFeed(world.client, [webhook.id]);
  for (const offMs of [hourMs, -hourMs, 0]) {
    await setClock(gatewayClock, offMs);
    await untilFound('the clock to be set', async () =>
      Math.abs((await clockOfGateway()) - Date.now() - offMs) < 60_000 ? true : null,
    );
    const id = await emitOne(world.client, eventType);
    await feed.until(({ change, delivery }) => change === 'DELIVERED' && delivery?.id === id);
    const token = await createToken();
    await using byToken = createApiClient({ graphqlUrl: `${world.url}/graphql`, websocketUrl: '' }, token);
    const { errors } = await byToken.ask('query { project { id } }');
    expect(errors).toEqual([]);
  }
  expect(receiver.requests).toHaveLength(3);
});

/** The brand of the worker that made the request. */
function senderOf({ headers }: ReceivedRequest): string {
  return /x-(ahead|behind)-signature/.exec(Object.keys(headers).join(' '))?.[1] ?? 'nobody';
}

/** What an event that does not say when it happened is dated. */
async function clockOfGateway(): Promise<number> {
  const { data } = await world.client.ask<{ emitEvent: { event: { occurredAt: string } } }>(
    `mutation { emitEvent(input: { type: "test.clock" }) { event { occurredAt } userErrors { message } } }`,
  );
  return new Date(data?.emitEvent.event.occurredAt ?? 0).getTime();
}

async function createToken(): Promise<string> {
  const { data } = await world.client.ask<{ createAccessToken: { token: string } }>(
    `mutation { createAccessToken(input: { permissions: [VIEW_WEBHOOKS] }) { token userErrors { message } } }`,
  );
  return data?.createAccessToken.token ?? '';
}
