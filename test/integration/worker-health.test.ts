import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { startReceiver } from '../support/receiver.ts';
import { addDeliveries, addDelivery, addWebhook } from '../support/store-fixture.ts';
import { emitEvents, endCircuitWait, inNewProject, openWorkerFixture, readWebhook } from '../support/worker-fixture.ts';
import type { WebhookId } from '../../src/domain/ids.ts';
import type { Receiver } from '../support/receiver.ts';
import type { WorkerFixture } from '../support/worker-fixture.ts';

const limit = { timeout: 10_000, interval: 50 };

let shared: WorkerFixture;
let fixture: WorkerFixture;
let worker: AsyncDisposable;

beforeAll(async () => {
  shared = await openWorkerFixture();
  worker = await shared.startWorker();
});
beforeEach(async () => {
  fixture = await inNewProject(shared);
});
afterAll(async () => {
  await worker?.[Symbol.asyncDispose]();
  await shared?.[Symbol.asyncDispose]();
});

interface OwnEvent {
  type: string;
  data: Record<string, unknown>;
}

/** What the receiver got, without what an event says of itself alone. */
function eventsAt(receiver: Receiver): OwnEvent[] {
  return receiver.requests.map(({ body }) => {
    const { type, data } = JSON.parse(body) as OwnEvent;
    return { type, data };
  });
}

/** A webhook that answers as it is told, one that wants to know of it, and one that wants everything else. */
async function startWatched(answer: () => number) {
  await using starting = new AsyncDisposableStack();
  const [watched, watcher, other] = [
    starting.use(await startReceiver(() => ({ status: answer() }))),
    starting.use(await startReceiver()),
    starting.use(await startReceiver()),
  ];
  const webhookId = await addWebhook(fixture, {
    name: 'Watched',
    url: watched.url,
    eventTypes: ['*', 'posthorn.*', 'posthorn.webhook.failing'],
  });
  await addWebhook(fixture, { url: watcher.url, eventTypes: ['posthorn.*'] });
  await addWebhook(fixture, { url: other.url, eventTypes: ['*'] });
  const owned = starting.move();
  return { webhookId, watched, watcher, other, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

async function send(webhookId: WebhookId, count: number): Promise<void> {
  const ids = await addDeliveries(fixture, webhookId, count);
  await fixture.queue.enqueue(ids.map((id) => ({ id, webhookId })));
}

test('a webhook that is refused thirty times is FAILING, then ACTIVE again; others that ask for it by name are told', async () => {
  let status = 500;
  await using project = await startWatched(() => status);
  const { webhookId, watched, watcher, other } = project;
  const feed = await fixture.feed.subscribe(fixture.projectId);
  await send(webhookId, 29);
  await watched.waitFor(29);
  await vi.waitFor(async () => {
    const tried = { webhookId: uuidOf(webhookId), status: 'RETRYING' } as const;
    expect(await fixture.db.prisma.delivery.count({ where: tried })).toBe(29);
  }, limit);
  expect((await readWebhook(fixture, webhookId)).status).toBe('ACTIVE');
  await send(webhookId, 1);
  await watcher.waitFor(1);
  const failing = await readWebhook(fixture, webhookId);
  expect(failing).toMatchObject({ status: 'FAILING', statusReason: 'HTTP_500', circuitOpenCount: 1 });
  expect(failing.circuitOpenUntil?.getTime()).toBeGreaterThan(Date.now());
  expect(eventsAt(watcher)).toEqual([
    {
      type: 'posthorn.webhook.failing',
      data: { webhookId, name: 'Watched', reason: 'HTTP_500', changedAt: failing.statusChangedAt.toISOString() },
    },
  ]);

  status = 200;
  await addDelivery(fixture, webhookId, { held: true });
  await endCircuitWait(fixture, webhookId);
  await fixture.sweep();
  await watcher.waitFor(2);
  const recovered = await readWebhook(fixture, webhookId);
  expect(recovered).toMatchObject({
    status: 'ACTIVE',
    statusReason: null,
    circuitOpenCount: 0,
    circuitOpenUntil: null,
  });
  expect(eventsAt(watcher)[1]).toEqual({
    type: 'posthorn.webhook.recovered',
    data: { webhookId, name: 'Watched', reason: null, changedAt: recovered.statusChangedAt.toISOString() },
  });
  expect([other.requests.length, watched.requests.length]).toEqual([0, 31]);
  const changes: string[] = [];
  while (changes.filter((change) => change === 'WEBHOOK_STATUS_CHANGED').length < 2) {
    const item = await feed.next();
    if (item.done === true) throw new Error('the feed ended');
    if (item.value.entry.webhookId === webhookId) changes.push(item.value.entry.change);
  }
});

test('a 410 answer disables the webhook, and others are told', async () => {
  await using project = await startWatched(() => 410);
  await send(project.webhookId, 1);
  await project.watcher.waitFor(1);
  const disabled = await readWebhook(fixture, project.webhookId);
  expect(disabled).toMatchObject({ status: 'DISABLED', statusReason: 'GONE' });
  const data = {
    webhookId: project.webhookId,
    name: 'Watched',
    reason: 'GONE',
    changedAt: disabled.statusChangedAt.toISOString(),
  };
  expect(eventsAt(project.watcher)).toEqual([{ type: 'posthorn.webhook.disabled', data }]);
  expect(project.other.requests).toEqual([]);
});

test('a delivery that is exhausted is told of, with its last attempt', async () => {
  await using project = await startWatched(() => 503);
  const { webhookId, watcher, watched } = project;
  const id = await addDelivery(fixture, webhookId, { status: 'RETRYING', attemptCount: 5, dueAt: new Date() });
  await fixture.queue.enqueue([{ id, webhookId }]);
  await watcher.waitFor(1);
  const { eventId, attempts } = await fixture.db.prisma.delivery.findUniqueOrThrow({
    where: { id: uuidOf(id) },
    select: { eventId: true, attempts: { select: { id: true } } },
  });
  const attemptId = idFromUuid('attempt', attempts[0]?.id ?? '');
  const data = {
    deliveryId: id,
    webhookId,
    eventId: idFromUuid('event', eventId),
    eventType: 'config.deployed',
    attemptCount: 6,
    lastAttempt: { id: attemptId, responseStatus: 503, errorCode: null, errorMessage: null },
  };
  expect(eventsAt(watcher)).toEqual([{ type: 'posthorn.delivery.exhausted', data }]);
  expect(watched.requests).toHaveLength(1);
});

test('an own event that is exhausted itself is not told of: it would never end', async () => {
  let ownEvents = 0;
  await using deaf = await startReceiver(() => ({ status: 500 }));
  await using gone = await startReceiver(() => ({ status: 410 }));
  await using watcher = await startReceiver(() => {
    ownEvents += 1;
    return {};
  });
  await addWebhook(fixture, { url: deaf.url, eventTypes: ['posthorn.*'], maxAttempts: 1 });
  await addWebhook(fixture, { url: watcher.url, eventTypes: ['posthorn.*'] });
  const webhookId = await addWebhook(fixture, { url: gone.url, eventTypes: ['x.y'] });
  await emitEvents(fixture, 'x.y', 1);
  await deaf.waitFor(1);
  await watcher.waitFor(1);
  await vi.waitFor(async () => {
    const failed = { projectId: uuidOf(fixture.projectId), status: 'FAILED', failureReason: 'EXHAUSTED' } as const;
    expect(await fixture.db.prisma.delivery.count({ where: failed })).toBe(1);
  }, limit);
  const types = await fixture.db.prisma.event.findMany({ where: { projectId: uuidOf(fixture.projectId) } });
  expect(types.map(({ type }) => type).toSorted()).toEqual(['posthorn.webhook.disabled', 'x.y']);
  expect([ownEvents, (await readWebhook(fixture, webhookId)).status]).toEqual([1, 'DISABLED']);
});
