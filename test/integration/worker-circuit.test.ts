import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { uuidOf } from '../../src/domain/ids.ts';
import { resumeWebhook } from '../../src/store/webhook-status.ts';
import { startReceiver } from '../support/receiver.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';
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
import { testActor } from '../support/test-actor.ts';

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

describe('a webhook', () => {
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
    const resumed = await resumeWebhook(fixture.db, fixture.projectId, bad, testActor);
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
