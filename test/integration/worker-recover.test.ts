import { beforeAll, beforeEach, expect, test } from 'vitest';
import { newId } from '../../src/store/new-id.ts';
import { pauseWebhook } from '../../src/store/webhook-status.ts';
import { recover, type RecoverDeps } from '../../worker/recover.ts';
import { passTime, readRecovery, startRecovery } from '../support/recovery.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';
import { inNewProject, openWorkerFixture, type WorkerFixture } from '../support/worker-fixture.ts';
import type { DeliveryId, WebhookId } from '../../src/domain/ids.ts';
import type { DeliveryQueue } from '../../src/queue.ts';
import { testActor } from '../support/test-actor.ts';

const failed = { status: 'FAILED', attemptCount: 6, failureReason: 'EXHAUSTED', finishedAt: new Date() } as const;
const never = new AbortController().signal;

let shared: WorkerFixture;
let fixture: WorkerFixture;
let hinted: DeliveryId[];
let lost: string[];
beforeAll(async () => {
  shared = await openWorkerFixture();
  return async () => await shared[Symbol.asyncDispose]();
});
beforeEach(async () => {
  fixture = await inNewProject(shared);
  await fixture.db.prisma.recovery.deleteMany();
  hinted = [];
  lost = [];
});

/** What a worker recovers with, with a queue that only remembers. */
function depsOf(
  enqueue: DeliveryQueue['enqueue'] = async (due) => void hinted.push(...due.map(({ id }) => id)),
): RecoverDeps {
  const queue: DeliveryQueue = { ...fixture.queue, enqueue };
  const announcing = { feed: fixture.feed, queue, now: () => new Date(), onLost: noteLost };
  return { database: fixture.db, announcing, settings: { maxAttempts: 6 } };
}

function noteLost(message: string): void {
  lost.push(message);
}

async function failToEnqueue(): Promise<void> {
  await Promise.reject(new Error('the queue is down'));
}

async function addFailed(webhookId: WebhookId, count: number): Promise<DeliveryId[]> {
  return await addDeliveries(fixture, webhookId, count, failed);
}

test('one run goes on step after step, tells the workers of each delivery, and the feed', async () => {
  const ids = await addFailed(await addWebhook(fixture), 700);
  const feed = await fixture.feed.subscribe(fixture.projectId);
  const recoveryId = await startRecovery(fixture);
  await passTime(fixture, recoveryId, 2_000);
  expect(await recover(depsOf(), never)).toBe(700);
  expect(hinted).toEqual(ids);
  for (const id of ids) {
    const { value } = await feed.next();
    expect(value.entry).toMatchObject({ change: 'RESENT', delivery: { id, status: 'PENDING', roundStart: 6 } });
  }
  await feed.return?.();
  expect((await readRecovery(fixture, recoveryId)).status).toBe('COMPLETED');
  expect(lost).toEqual([]);
});

test('no worker is told of what waits for its paused webhook', async () => {
  const webhookId = await addWebhook(fixture);
  await addFailed(webhookId, 3);
  await pauseWebhook(fixture.db, fixture.projectId, webhookId, testActor);
  await passTime(fixture, await startRecovery(fixture), 2_000);
  expect(await recover(depsOf(), never)).toBe(3);
  expect(hinted).toEqual([]);
});

test('recoveries take turns: a huge one of one project holds up no small one of another', async () => {
  await addFailed(await addWebhook(fixture), 2_000);
  const huge = await startRecovery(fixture);
  const other = await inNewProject(shared);
  const [small] = await addDeliveries(other, await addWebhook(other), 1, failed);
  const little = await startRecovery(other);
  for (const id of [huge, little]) await passTime(fixture, id, 2_000);
  await recover(depsOf(), never);
  const place = hinted.indexOf(small ?? newId('delivery'));
  expect(place).toBeGreaterThanOrEqual(0);
  expect(place).toBeLessThanOrEqual(500); // behind one step of the huge one at most
  expect(hinted).toHaveLength(2_001);
});

test('a queue that is down loses no hint for good and stops no recovery', async () => {
  await addFailed(await addWebhook(fixture), 700);
  const recoveryId = await startRecovery(fixture);
  await passTime(fixture, recoveryId, 2_000);
  expect(await recover(depsOf(failToEnqueue), never)).toBe(700);
  expect(lost).toHaveLength(2);
  expect((await readRecovery(fixture, recoveryId)).status).toBe('COMPLETED');
});

test('a recovery whose step fails is reported, and holds up no other', async () => {
  const broken = await startRecovery(fixture);
  await fixture.db.pipeline.query(`update recoveries set filter = '[]'`);
  await addFailed(await addWebhook(fixture), 2);
  const whole = await startRecovery(fixture);
  for (const id of [broken, whole]) await passTime(fixture, id, 2_000);
  expect(await recover(depsOf(), never)).toBe(2);
  expect(lost).toEqual([`a step of ${broken} failed; it is made again`]);
});

test('a worker that stops makes no further step', async () => {
  await addFailed(await addWebhook(fixture), 2);
  await passTime(fixture, await startRecovery(fixture), 2_000);
  expect(await recover(depsOf(), AbortSignal.abort())).toBe(0);
});
