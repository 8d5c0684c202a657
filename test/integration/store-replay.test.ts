import { beforeAll, expect, test } from 'vitest';
import { type DeliveryId, type EventId, idFromUuid, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { cleanup } from '../../src/store/cleanup.ts';
import { newId } from '../../src/store/new-id.ts';
import { replayEvent, type ReplayResult } from '../../src/store/replay-event.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { someActor } from '../support/recovery.ts';
import {
  addDelivery,
  addWebhook,
  openStoreFixture,
  readDelivery,
  type StoreFixture,
} from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await openStoreFixture();
  return async () => await fixture[Symbol.asyncDispose]();
});

async function replay(eventId: EventId, webhookId: WebhookId, projectId = fixture.projectId): Promise<ReplayResult> {
  const options = { actor: someActor(), defaultMaxAttempts: 6, claimLeaseMs: 30_000 };
  return await replayEvent(fixture.db, projectId, { eventId, webhookId }, options);
}

/** An event that one webhook got. */
async function addEvent(webhookId: WebhookId): Promise<{ eventId: EventId; deliveryId: DeliveryId }> {
  const deliveryId = await addDelivery(fixture, webhookId, {
    status: 'FAILED',
    attemptCount: 6,
    finishedAt: new Date(),
  });
  return { deliveryId, eventId: idFromUuid('event', (await readDelivery(fixture, deliveryId)).eventId) };
}

async function listDeliveries(eventId: EventId, webhookId: WebhookId) {
  const where = { eventId: uuidOf(eventId), webhookId: uuidOf(webhookId) };
  return await fixture.db.prisma.delivery.findMany({ where });
}

test('a webhook that never got the event gets it, whatever its filters: due now, with a whole round by hand', async () => {
  const { eventId } = await addEvent(await addWebhook(fixture));
  const webhookId = await addWebhook(fixture, { eventTypes: ['other.type'], maxAttempts: 2 });
  const result = await replay(eventId, webhookId);
  const [delivery] = await listDeliveries(eventId, webhookId);
  expect(result).toEqual({ kind: 'created', delivery });
  expect(delivery).toMatchObject({
    status: 'PENDING',
    trigger: 'MANUAL',
    attemptCount: 0,
    roundStart: 0,
    maxAttempts: 2,
    held: false,
    dueAt: expect.any(Date),
  });
});

test('a delivery that there is of the two is resent, and the audit names it', async () => {
  const webhookId = await addWebhook(fixture);
  const { eventId, deliveryId } = await addEvent(webhookId);
  expect(await replay(eventId, webhookId)).toMatchObject({
    kind: 'resent',
    delivery: { id: uuidOf(deliveryId), status: 'PENDING', roundStart: 6, maxAttempts: 12 },
  });
  const where = { action: 'replayEvent', targetId: deliveryId };
  expect(await fixture.db.prisma.auditEntry.count({ where })).toBe(1);
});

test('a paused webhook’s is held until it is resumed; a failing one’s is due, as the attempt of a person', async () => {
  const { eventId } = await addEvent(await addWebhook(fixture));
  const [paused, failing] = [await addWebhook(fixture), await addWebhook(fixture)];
  await pauseWebhook(fixture.db, fixture.projectId, paused, testActor);
  await fixture.db.pipeline.query(`update webhooks set status = 'FAILING' where id = $1`, [uuidOf(failing)]);
  expect(await replay(eventId, paused)).toMatchObject({ kind: 'created', delivery: { held: true, dueAt: null } });
  expect(await replay(eventId, failing)).toMatchObject({
    kind: 'created',
    delivery: { held: false, dueAt: expect.any(Date) },
  });
});

test('a disabled webhook, a deleted one, and an attempt under way refuse, and nothing is created or changed', async () => {
  const { db, projectId } = fixture;
  const { eventId } = await addEvent(await addWebhook(fixture));
  const [disabled, deleted, busy] = [await addWebhook(fixture), await addWebhook(fixture), await addWebhook(fixture)];
  const { eventId: ofDeleted } = await addEvent(deleted);
  await disableWebhook(db, { maxAttempts: 6 }, { projectId, webhookId: disabled }, 'GONE');
  await deleteWebhook(db, projectId, deleted, testActor);
  const underWay = await addDelivery(fixture, busy, { status: 'DELIVERING', claimedAt: new Date() });
  const before = await readDelivery(fixture, underWay);
  expect(await replay(eventId, disabled)).toEqual({ kind: 'webhook-unavailable', status: 'DISABLED' });
  expect(await replay(eventId, deleted)).toEqual({ kind: 'no-webhook' });
  expect(await replay(ofDeleted, deleted)).toEqual({ kind: 'no-webhook' });
  expect(await replay(idFromUuid('event', before.eventId), busy)).toEqual({ kind: 'in-flight' });
  expect(await readDelivery(fixture, underWay)).toEqual(before);
  expect([...(await listDeliveries(eventId, disabled)), ...(await listDeliveries(eventId, deleted))]).toEqual([]);
});

test('a stranger’s event and webhook are not there', async () => {
  const webhookId = await addWebhook(fixture);
  const { eventId } = await addEvent(webhookId);
  const theirs = await addWebhook({ ...fixture, projectId: fixture.strangerId });
  expect(await replay(eventId, theirs, fixture.strangerId)).toEqual({ kind: 'no-event' });
  expect(await replay(eventId, theirs)).toEqual({ kind: 'no-webhook' });
  expect(await replay(newId('event'), webhookId)).toEqual({ kind: 'no-event' });
});

test('replayed several times at once to a webhook that never got it, one delivery is made and the others resend it', async () => {
  const { eventId } = await addEvent(await addWebhook(fixture));
  for (let round = 0; round < 5; round += 1) {
    const webhookId = await addWebhook(fixture);
    const results = await Promise.all(Array.from({ length: 5 }, async () => await replay(eventId, webhookId)));
    expect(results.filter(({ kind }) => kind === 'created')).toHaveLength(1);
    expect(results.filter(({ kind }) => kind === 'resent')).toHaveLength(4);
    expect(await listDeliveries(eventId, webhookId)).toHaveLength(1);
  }
});

test('replays and the deletion of their webhook at once leave no delivery waiting', async () => {
  const { eventId } = await addEvent(await addWebhook(fixture));
  for (let round = 0; round < 10; round += 1) {
    const webhookId = await addWebhook(fixture);
    const [result] = await Promise.all([
      replay(eventId, webhookId),
      deleteWebhook(fixture.db, fixture.projectId, webhookId, testActor),
    ]);
    const statuses = (await listDeliveries(eventId, webhookId)).map(({ status }) => status);
    expect(statuses).toEqual(result.kind === 'created' ? ['CANCELLED'] : []);
  }
});

test('replays and the removal of their event at once leave no delivery without an event', async () => {
  for (let round = 0; round < 10; round += 1) {
    const [before, webhookId] = [await addWebhook(fixture), await addWebhook(fixture)];
    const { eventId } = await addEvent(before);
    const signal = new AbortController().signal;
    const [result] = await Promise.all([
      replay(eventId, webhookId),
      cleanup(fixture.db, { olderThan: new Date(Date.now() + 1_000) }, signal),
    ]);
    const hasEvent = (await fixture.db.prisma.event.count({ where: { id: uuidOf(eventId) } })) === 1;
    const deliveries = await listDeliveries(eventId, webhookId);
    expect([hasEvent, deliveries.length]).toEqual(result.kind === 'created' ? [true, 1] : [false, 0]);
  }
});
