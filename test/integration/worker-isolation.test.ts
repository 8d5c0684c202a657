import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { startRedisRateLimit } from '../../src/rate-limit/redis-rate-limit.ts';
import { retryStuck } from '../../worker/sweep.ts';
import { createGate } from '../support/queue.ts';
import { startReceiver } from '../support/receiver.ts';
import { startTestRedis } from '../support/redis.ts';
import { addDeliveries, addDelivery, addWebhook, readDelivery } from '../support/store-fixture.ts';
import { countByStatus, inNewProject, openWorkerFixture } from '../support/worker-fixture.ts';
import type { DeliveryId, WebhookId } from '../../src/domain/ids.ts';
import type { WorkerFixture } from '../support/worker-fixture.ts';

const limit = { timeout: 15_000, interval: 50 };

let shared: WorkerFixture;
let fixture: WorkerFixture;

beforeAll(async () => {
  shared = await openWorkerFixture();
});
beforeEach(async () => {
  fixture = await inNewProject(shared);
});
afterAll(async () => await shared?.[Symbol.asyncDispose]());

async function enqueue(webhookId: WebhookId, ids: readonly DeliveryId[]): Promise<void> {
  await fixture.queue.enqueue(ids.map((id) => ({ id, webhookId })));
}

describe('one bad receiver', () => {
  test('that hangs has its own share of the worker, and a healthy one is served meanwhile', async () => {
    const gate = createGate();
    await using hanging = await startReceiver(async () => {
      await gate.opened;
      return {};
    });
    await using healthy = await startReceiver();
    const [bad, good] = [
      await addWebhook(fixture, { url: hanging.url }),
      await addWebhook(fixture, { url: healthy.url }),
    ];
    const waiting = await addDeliveries(fixture, bad, 200);
    await using _worker = await fixture.startWorker({ inFlightMax: 16 });
    await enqueue(bad, waiting);
    await hanging.waitFor(8);
    await enqueue(good, await addDeliveries(fixture, good, 100));
    await healthy.waitFor(100, 10_000);
    expect(hanging.requests).toHaveLength(8);
    gate.open();
    await hanging.waitFor(200, 10_000);
    await vi.waitFor(async () => expect(await countByStatus(fixture, bad)).toEqual({ DELIVERED: 200 }), limit);
  });
});

describe('a rate', () => {
  test('holds over all workers together', async () => {
    const perSecond = 20;
    await using redis = await startTestRedis();
    const open = async () => await startRedisRateLimit({ url: redis.url, onError: () => {} });
    await using first = await open();
    await using second = await open();
    await using receiver = await startReceiver();
    const webhookId = await addWebhook(fixture, { url: receiver.url, rateLimitPerSecond: perSecond });
    await using _worker = await fixture.startWorker({}, first);
    await using _other = await fixture.startWorker({}, second);
    for (let job = 0; job < 4; job += 1) await enqueue(webhookId, await addDeliveries(fixture, webhookId, 12));
    const deadline = Date.now() + 15_000;
    while (receiver.requests.length < 48 && Date.now() < deadline) {
      await receiver.waitFor(receiver.requests.length + 1, 2_000).catch(() => fixture.sweep());
    }
    const arrivals = receiver.requests.map(({ receivedAt }) => receivedAt.getTime());
    expect(arrivals).toHaveLength(48);
    // What may start at once is two; a request may take a little longer than another.
    const seconds = (Math.max(...arrivals) - Math.min(...arrivals) + 150) / 1_000;
    expect(48).toBeLessThanOrEqual(perSecond * seconds + 2);
    await vi.waitFor(async () => expect(await countByStatus(fixture, webhookId)).toEqual({ DELIVERED: 48 }), limit);
  });
});

describe('retry-stuck', () => {
  test('sends again what a worker took that died, and nothing else', async () => {
    await using receiver = await startReceiver();
    const webhookId = await addWebhook(fixture, { url: receiver.url });
    const longAgo = new Date(Date.now() - 3_600_000);
    const stuck = await addDelivery(fixture, webhookId, { status: 'DELIVERING', claimedAt: longAgo, dueAt: longAgo });
    const inOneHour = new Date(Date.now() + 3_600_000);
    const busy = await addDelivery(fixture, webhookId, {
      status: 'DELIVERING',
      claimedAt: new Date(),
      dueAt: inOneHour,
    });
    await using _worker = await fixture.startWorker();
    expect(await retryStuck({ database: fixture.db, queue: fixture.queue })).toBe(1);
    await vi.waitFor(async () => expect((await readDelivery(fixture, stuck)).status).toBe('DELIVERED'), limit);
    expect((await readDelivery(fixture, busy)).status).toBe('DELIVERING');
    expect(await retryStuck({ database: fixture.db, queue: fixture.queue })).toBe(0);
  });
});
