import { beforeAll, describe, expect, test } from 'vitest';
import type { PoolClient } from 'pg';
import { uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { releaseHeldDeliveries, takeHeldDeliveries } from '../../src/store/held-deliveries.ts';
import { newId } from '../../src/store/new-id.ts';
import { disableWebhook, openCircuit } from '../../src/store/webhook-health.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import {
  addDeliveries,
  addDelivery,
  addWebhook,
  idsOf,
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

async function readWebhook(webhookId: WebhookId) {
  return await fixture.db.prisma.webhook.findUniqueOrThrow({ where: { id: uuidOf(webhookId) } });
}

async function addPausedWebhook(): Promise<WebhookId> {
  const webhookId = await addWebhook(fixture);
  await pauseWebhook(fixture.db, fixture.projectId, webhookId, testActor);
  return webhookId;
}

describe('pauseWebhook', () => {
  test('an active or failing webhook is paused with its reason, and stays so when asked again', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    await db.prisma.webhook.update({ where: { id: uuidOf(webhookId) }, data: { status: 'FAILING' } });
    const paused = await pauseWebhook(db, projectId, webhookId, testActor);
    expect(paused).toMatchObject({ status: 'PAUSED', statusReason: 'PAUSED_BY_USER' });
    expect(await pauseWebhook(db, projectId, webhookId, testActor)).toEqual(paused);
    expect(await readWebhook(webhookId)).toEqual(paused);
  });

  test('a disabled webhook stays disabled', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId }, 'GONE');
    expect(await pauseWebhook(db, projectId, webhookId, testActor)).toMatchObject({
      status: 'DISABLED',
      statusReason: 'GONE',
    });
  });

  test("a stranger's, a deleted or an unknown webhook is not paused", async () => {
    const { db, projectId, strangerId } = fixture;
    const webhookId = await addWebhook(fixture);
    expect(await pauseWebhook(db, strangerId, webhookId, testActor)).toBeNull();
    expect(await pauseWebhook(db, projectId, newId('webhook'), testActor)).toBeNull();
    await deleteWebhook(db, projectId, webhookId, testActor);
    expect(await pauseWebhook(db, projectId, webhookId, testActor)).toBeNull();
    expect((await readWebhook(webhookId)).status).toBe('ACTIVE');
  });
});

describe('resumeWebhook', () => {
  test('releases what was held, and nothing else', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addPausedWebhook();
    const held = await addDeliveries(fixture, webhookId, 3, { held: true });
    const retryAt = new Date(Date.now() + 3_600_000);
    const retrying = await addDelivery(fixture, webhookId, { status: 'RETRYING', attemptCount: 1, dueAt: retryAt });
    const elsewhere = await addDelivery(fixture, await addPausedWebhook(), { held: true });
    const resumed = await resumeWebhook(db, projectId, webhookId, testActor);
    expect(resumed?.webhook).toMatchObject({ status: 'ACTIVE', statusReason: null });
    expect(resumed?.released.toSorted()).toEqual(held);
    for (const id of held) {
      const delivery = await readDelivery(fixture, id);
      expect(delivery).toMatchObject({ status: 'PENDING', held: false });
      expect(Math.abs((delivery.dueAt?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
    }
    expect((await readDelivery(fixture, retrying)).dueAt).toEqual(retryAt);
    expect((await readDelivery(fixture, elsewhere)).held).toBe(true);
  });

  test('lets the first fifty through; whoever sends those takes the others, oldest first, as there is room', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addPausedWebhook();
    const held = await addDeliveries(fixture, webhookId, 120, { held: true });
    const resumed = await resumeWebhook(db, projectId, webhookId, testActor);
    expect(resumed?.released).toEqual(held.slice(0, 50));
    expect(await takeHeldDeliveries(db, webhookId, 60)).toEqual(held.slice(50, 110));
    expect(await takeHeldDeliveries(db, webhookId, 60)).toEqual(held.slice(110));
    expect(await takeHeldDeliveries(db, webhookId, 60)).toEqual([]);
  });

  test('a disabled or failing webhook becomes active, its circuit closed', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId }, 'GONE');
    expect((await resumeWebhook(db, projectId, webhookId, testActor))?.webhook.status).toBe('ACTIVE');
    await openCircuit(
      db,
      { maxAttempts: 3 },
      { projectId, webhookId },
      { reason: 'TIMEOUT', openMs: 1e6, openCount: 1 },
    );
    expect((await resumeWebhook(db, projectId, webhookId, testActor))?.webhook).toMatchObject({
      status: 'ACTIVE',
      statusReason: null,
      circuitOpenUntil: null,
    });
  });

  test("a stranger's, a deleted or an unknown webhook is not resumed", async () => {
    const { db, projectId, strangerId } = fixture;
    const webhookId = await addPausedWebhook();
    const held = await addDelivery(fixture, webhookId, { held: true });
    expect(await resumeWebhook(db, strangerId, webhookId, testActor)).toBeNull();
    expect(await resumeWebhook(db, projectId, newId('webhook'), testActor)).toBeNull();
    expect((await readDelivery(fixture, held)).held).toBe(true);
    await deleteWebhook(db, projectId, webhookId, testActor);
    expect(await resumeWebhook(db, projectId, webhookId, testActor)).toBeNull();
    expect((await readWebhook(webhookId)).status).toBe('PAUSED');
  });
});

describe('disableWebhook', () => {
  test('disables once, and stores the event that says so', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const disable = async () => await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId }, 'GONE');
    const changes = await Promise.all([disable(), disable()]);
    expect(changes.filter(({ changed }) => changed)).toHaveLength(1);
    expect(await readWebhook(webhookId)).toMatchObject({ status: 'DISABLED', statusReason: 'GONE' });
    const event = changes.find(({ changed }) => changed)?.event?.event;
    expect(event?.type).toBe('posthorn.webhook.disabled');
    expect(JSON.parse(event?.body ?? '')).toMatchObject({ projectId, data: { webhookId, reason: 'GONE' } });
  });

  test("a stranger's, a deleted or an unknown webhook is not disabled", async () => {
    const { db, projectId, strangerId } = fixture;
    const webhookId = await addWebhook(fixture);
    expect((await disableWebhook(db, { maxAttempts: 3 }, { projectId: strangerId, webhookId }, 'GONE')).changed).toBe(
      false,
    );
    expect(
      (await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId: newId('webhook') }, 'GONE')).changed,
    ).toBe(false);
    await deleteWebhook(db, projectId, webhookId, testActor);
    expect((await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId }, 'GONE')).changed).toBe(false);
    expect((await readWebhook(webhookId)).status).toBe('ACTIVE');
  });
});

describe('held deliveries', () => {
  test('a sweep lets one of an active webhook through, all of a disabled or deleted one, and none of a paused one', async () => {
    const { db, projectId } = fixture;
    await releaseHeldDeliveries(db);
    const paused = await addDelivery(fixture, await addPausedWebhook(), { held: true });
    const active = await addDeliveries(fixture, await addWebhook(fixture), 3, { held: true });
    const disabledId = await addWebhook(fixture);
    await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId: disabledId }, 'GONE');
    const disabled = await addDeliveries(fixture, disabledId, 2, { held: true });
    const deletedId = await addPausedWebhook();
    await deleteWebhook(db, projectId, deletedId, testActor);
    const deleted = await addDelivery(fixture, deletedId, { held: true });
    const released = idsOf(await releaseHeldDeliveries(db));
    expect(released.toSorted()).toEqual([...active.slice(0, 1), ...disabled, deleted].toSorted());
    expect(await readDelivery(fixture, deleted)).toMatchObject({ held: false, dueAt: expect.any(Date) });
    expect(await readDelivery(fixture, paused)).toMatchObject({ held: true, dueAt: null });
  });

  test('a claim that holds a delivery just after the resume looked does not hold it for ever', async () => {
    const { db, projectId } = fixture;
    await releaseAll();
    const webhookId = await addPausedWebhook();
    const id = await addDelivery(fixture, webhookId, { dueAt: new Date() });
    const claim = await db.pipeline.connect();
    try {
      await holdInOpenTransaction(claim, id);
      expect((await resumeWebhook(db, projectId, webhookId, testActor))?.released).toEqual([]);
      expect(idsOf(await releaseHeldDeliveries(db))).toEqual([]);
      await claim.query('commit');
    } finally {
      claim.release();
    }
    expect((await readDelivery(fixture, id)).held).toBe(true);
    expect(idsOf(await releaseHeldDeliveries(db))).toEqual([id]);
    expect(await readDelivery(fixture, id)).toMatchObject({ held: false, dueAt: expect.any(Date) });
  });

  test('pausing and resuming at once, over and over, ends with held deliveries only where the webhook is paused', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addPausedWebhook();
    const ids = await addDeliveries(fixture, webhookId, 20, { held: true });
    for (let round = 0; round < 10; round += 1) {
      await Promise.all([
        pauseWebhook(db, projectId, webhookId, testActor),
        hold(webhookId),
        resumeWebhook(db, projectId, webhookId, testActor),
        hold(webhookId),
      ]);
      await releaseAll();
      const webhook = await readWebhook(webhookId);
      const rows = await db.prisma.delivery.findMany({ where: { webhookId: uuidOf(webhookId) } });
      expect(rows).toHaveLength(ids.length);
      const forgotten = rows.filter((row) => !row.held && row.dueAt === null);
      expect(forgotten).toEqual([]);
      const stranded = rows.filter((row) => row.held && webhook.status !== 'PAUSED');
      expect(stranded).toEqual([]);
    }
  });

  test('releaseHeldDeliveries passes by the many deliveries of a paused webhook', async () => {
    const { db } = fixture;
    await releaseAll();
    await addDeliveries(fixture, await addPausedWebhook(), 3_000, { held: true });
    const stranded = await addDelivery(fixture, await addWebhook(fixture), { held: true });
    expect(idsOf(await releaseHeldDeliveries(db))).toEqual([stranded]);
  });
});

/** Sweeps until there is nothing to release. */
async function releaseAll(): Promise<void> {
  while ((await releaseHeldDeliveries(fixture.db)).length > 0);
}

const holdSql = `update deliveries d set held = true, due_at = null from webhooks w
  where w.id = d.webhook_id and w.status = 'PAUSED' and not d.held and d.status = 'PENDING'`;

/** What a claim does to due deliveries of a paused webhook. */
async function hold(webhookId: WebhookId): Promise<void> {
  await fixture.db.pipeline.query(`${holdSql} and d.webhook_id = $1`, [uuidOf(webhookId)]);
}

async function holdInOpenTransaction(claim: PoolClient, id: Parameters<typeof uuidOf>[0]): Promise<void> {
  await claim.query('begin');
  const held = await claim.query(`${holdSql} and d.id = $1`, [uuidOf(id)]);
  expect(held.rowCount).toBe(1);
}
