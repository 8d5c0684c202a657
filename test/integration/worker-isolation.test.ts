import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { uuidOf } from '../../src/domain/ids.ts';
import { startRedisRateLimit } from '../../src/rate-limit/redis-rate-limit.ts';
import { resumeWebhook } from '../../src/store/webhook-status.ts';
import { retryStuck } from '../../worker/sweep.ts';
import { createGate } from '../support/queue.ts';
import { startReceiver } from '../support/receiver.ts';
import { startTestRedis } from '../support/redis.ts';
import { addDeliveries, addDelivery, addWebhook, readDelivery } from '../support/store-fixture.ts';
import {
  countByStatus,
  emitEvents,
  endCircuitWait,
  inNewProject,
  openWorkerFixture,
  readWebhook,
} from '../support/worker-fixture.ts';
import type { DeliveryId, WebhookId } from '../../src/domain/ids.ts';
import type { Receiver } from '../support/receiver.ts';
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

/** A receiver that breaks every connection until it is told to be well. */
async function startDead(): Promise<Receiver & { revive(): void }> {
  let isDead = true;
  const receiver = await startReceiver(() => (isDead ? { reset: 'BEFORE_HEAD' } : {}));
  return Object.assign(receiver, { revive: () => void (isDead = false) });
}

/** Sends so many deliveries to a dead receiver and waits until those that it did not get are all held. */
async function parkAll(webhookId: WebhookId, count: number): Promise<number> {
  await enqueue(webhookId, await addDeliveries(fixture, webhookId, count));
  let held = 0;
  await vi.waitFor(async () => {
    const counts = await countByStatus(fixture, webhookId);
    held = counts.held ?? 0;
    expect(held + (counts.RETRYING ?? 0)).toBe(count);
  }, limit);
  return held;
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

  test('that is dead has its 3,000 deliveries parked while others go out; all go out after its probe', async () => {
    await using dead = await startDead();
    await using healthy = await startReceiver();
    const [bad, good] = [await addWebhook(fixture, { url: dead.url }), await addWebhook(fixture, { url: healthy.url })];
    await using _worker = await fixture.startWorker();
    await Promise.all([parkAll(bad, 3_000), addDeliveries(fixture, good, 50).then((ids) => enqueue(good, ids))]);
    await healthy.waitFor(50, 10_000);
    expect(await readWebhook(fixture, bad)).toMatchObject({ status: 'FAILING', statusReason: 'CONNECT' });
    const triedCount = dead.requests.length;
    expect(triedCount).toBeLessThan(50);

    dead.revive();
    await fixture.sweep();
    expect((await countByStatus(fixture, bad)).held).toBe(3_000 - triedCount);
    await endCircuitWait(fixture, bad);
    await fixture.sweep();
    await vi.waitFor(
      async () =>
        expect(await countByStatus(fixture, bad)).toEqual({ DELIVERED: 3_000 - triedCount, RETRYING: triedCount }),
      limit,
    );
    expect(await readWebhook(fixture, bad)).toMatchObject({ status: 'ACTIVE', statusReason: null });
    expect(dead.requests).toHaveLength(3_000);
  });

  test('that a person resumes is sent all that was parked, without a probe', async () => {
    await using dead = await startDead();
    const bad = await addWebhook(fixture, { url: dead.url });
    await using _worker = await fixture.startWorker();
    await using _other = await fixture.startWorker();
    const heldCount = await parkAll(bad, 400);
    dead.revive();
    const resumed = await resumeWebhook(fixture.db, fixture.projectId, bad);
    const released = resumed?.released ?? [];
    expect(released).toHaveLength(50);
    await fixture.queue.enqueue(
      released.map((id) => ({ id, webhookId: bad })),
      { urgency: 'released' },
    );
    await vi.waitFor(async () => expect((await countByStatus(fixture, bad)).DELIVERED).toBe(heldCount), limit);
    expect((await readWebhook(fixture, bad)).status).toBe('ACTIVE');
  });

  test('whose probe fails stays FAILING for longer, and one delivery is spent on it', async () => {
    await using dead = await startDead();
    const bad = await addWebhook(fixture, { url: dead.url });
    await using _worker = await fixture.startWorker();
    const heldCount = await parkAll(bad, 100);
    await endCircuitWait(fixture, bad);
    await fixture.sweep();
    await vi.waitFor(async () => expect((await readWebhook(fixture, bad)).circuitOpenCount).toBe(2), limit);
    expect((await countByStatus(fixture, bad)).held).toBe(heldCount - 1);
  });

  test('that fails has its new deliveries wait without a job, and they cost no attempt', async () => {
    await using dead = await startDead();
    const bad = await addWebhook(fixture, { url: dead.url, eventTypes: ['a.b'] });
    await using _worker = await fixture.startWorker();
    await parkAll(bad, 50);
    const triedCount = dead.requests.length;
    await emitEvents(fixture, 'a.b', 10);
    expect((await countByStatus(fixture, bad)).held).toBe(50 - triedCount + 10);
    const tried = { webhookId: uuidOf(bad), held: true, attemptCount: { gt: 0 } };
    expect(await fixture.db.prisma.delivery.count({ where: tried })).toBe(0);
    expect(dead.requests).toHaveLength(triedCount);
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
