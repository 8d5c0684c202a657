import { beforeAll, describe, expect, test } from 'vitest';
import type { PoolClient } from 'pg';
import { uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { releaseHeldDeliveries } from '../../src/store/held-deliveries.ts';
import { newId } from '../../src/store/new-id.ts';
import { disableWebhook, pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import {
  addDeliveries,
  addDelivery,
  addWebhook,
  openStoreFixture,
  readDelivery,
  type StoreFixture,
} from '../support/store-fixture.ts';

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
  await pauseWebhook(fixture.db, fixture.projectId, webhookId);
  return webhookId;
}

describe('pauseWebhook', () => {
  test('an active or failing webhook is paused with its reason, and stays so when asked again', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    await db.prisma.webhook.update({ where: { id: uuidOf(webhookId) }, data: { status: 'FAILING' } });
    const paused = await pauseWebhook(db, projectId, webhookId);
    expect(paused).toMatchObject({ status: 'PAUSED', statusReason: 'PAUSED_BY_USER' });
    expect(await pauseWebhook(db, projectId, webhookId)).toEqual(paused);
    expect(await readWebhook(webhookId)).toEqual(paused);
  });

  test('a disabled webhook stays disabled', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    await disableWebhook(db, projectId, webhookId, 'GONE');
    expect(await pauseWebhook(db, projectId, webhookId)).toMatchObject({ status: 'DISABLED', statusReason: 'GONE' });
  });

  test("a stranger's, a deleted or an unknown webhook is not paused", async () => {
    const { db, projectId, strangerId } = fixture;
    const webhookId = await addWebhook(fixture);
    expect(await pauseWebhook(db, strangerId, webhookId)).toBeNull();
    expect(await pauseWebhook(db, projectId, newId('webhook'))).toBeNull();
    await deleteWebhook(db, projectId, webhookId);
    expect(await pauseWebhook(db, projectId, webhookId)).toBeNull();
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
    const resumed = await resumeWebhook(db, projectId, webhookId);
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

  test('releases more than one statement takes and gives the first thousand', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addPausedWebhook();
    const held = await addDeliveries(fixture, webhookId, 2_100, { held: true });
    const resumed = await resumeWebhook(db, projectId, webhookId);
    expect(resumed?.released.toSorted()).toEqual(held.slice(0, 1_000));
    const left = await db.prisma.delivery.count({ where: { webhookId: uuidOf(webhookId), held: true } });
    expect(left).toBe(0);
  });

  test('a disabled webhook becomes active; a failing one stays failing', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    await disableWebhook(db, projectId, webhookId, 'GONE');
    expect((await resumeWebhook(db, projectId, webhookId))?.webhook.status).toBe('ACTIVE');
    await db.prisma.webhook.update({ where: { id: uuidOf(webhookId) }, data: { status: 'FAILING' } });
    expect((await resumeWebhook(db, projectId, webhookId))?.webhook.status).toBe('FAILING');
  });

  test("a stranger's, a deleted or an unknown webhook is not resumed", async () => {
    const { db, projectId, strangerId } = fixture;
    const webhookId = await addPausedWebhook();
    const held = await addDelivery(fixture, webhookId, { held: true });
    expect(await resumeWebhook(db, strangerId, webhookId)).toBeNull();
    expect(await resumeWebhook(db, projectId, newId('webhook'))).toBeNull();
    expect((await readDelivery(fixture, held)).held).toBe(true);
    await deleteWebhook(db, projectId, webhookId);
    expect(await resumeWebhook(db, projectId, webhookId)).toBeNull();
    expect((await readWebhook(webhookId)).status).toBe('PAUSED');
  });
});

describe('disableWebhook', () => {
  test('disables once, gives the row as Prisma would, and then null', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture, {
      headers: [{ name: 'x-team', value: 'platform' }],
      eventTypes: ['a.*', 'b'],
      retrySchedule: [1, 2],
    });
    const results = await Promise.all([
      disableWebhook(db, projectId, webhookId, 'GONE'),
      disableWebhook(db, projectId, webhookId, 'GONE'),
    ]);
    expect(results.filter((result) => result !== null)).toEqual([await readWebhook(webhookId)]);
    expect(await readWebhook(webhookId)).toMatchObject({ status: 'DISABLED', statusReason: 'GONE' });
  });

  test("a stranger's, a deleted or an unknown webhook is not disabled", async () => {
    const { db, projectId, strangerId } = fixture;
    const webhookId = await addWebhook(fixture);
    expect(await disableWebhook(db, strangerId, webhookId, 'GONE')).toBeNull();
    expect(await disableWebhook(db, projectId, newId('webhook'), 'GONE')).toBeNull();
    await deleteWebhook(db, projectId, webhookId);
    expect(await disableWebhook(db, projectId, webhookId, 'GONE')).toBeNull();
    expect((await readWebhook(webhookId)).status).toBe('ACTIVE');
  });
});

describe('held deliveries', () => {
  test('releaseHeldDeliveries frees those of webhooks that are active, disabled or deleted, and keeps those of paused ones', async () => {
    const { db, projectId } = fixture;
    await releaseHeldDeliveries(db);
    const paused = await addDelivery(fixture, await addPausedWebhook(), { held: true });
    const active = await addDeliveries(fixture, await addWebhook(fixture), 3, { held: true });
    const disabledId = await addWebhook(fixture);
    await disableWebhook(db, projectId, disabledId, 'GONE');
    const disabled = await addDelivery(fixture, disabledId, { held: true });
    const deletedId = await addPausedWebhook();
    await deleteWebhook(db, projectId, deletedId);
    const deleted = await addDelivery(fixture, deletedId, { held: true });
    const released = await releaseHeldDeliveries(db);
    expect(released.toSorted()).toEqual([...active, disabled, deleted].toSorted());
    expect(await readDelivery(fixture, disabled)).toMatchObject({ held: false, dueAt: expect.any(Date) });
    expect(await readDelivery(fixture, paused)).toMatchObject({ held: true, dueAt: null });
    expect(await releaseHeldDeliveries(db)).toEqual([]);
  });

  test('a claim that holds a delivery just after the resume looked does not hold it for ever', async () => {
    const { db, projectId } = fixture;
    await releaseHeldDeliveries(db);
    const webhookId = await addPausedWebhook();
    const id = await addDelivery(fixture, webhookId, { dueAt: new Date() });
    const claim = await db.pipeline.connect();
    try {
      await holdInOpenTransaction(claim, id);
      expect((await resumeWebhook(db, projectId, webhookId))?.released).toEqual([]);
      expect(await releaseHeldDeliveries(db)).toEqual([]);
      await claim.query('commit');
    } finally {
      claim.release();
    }
    expect((await readDelivery(fixture, id)).held).toBe(true);
    expect(await releaseHeldDeliveries(db)).toEqual([id]);
    expect(await readDelivery(fixture, id)).toMatchObject({ held: false, dueAt: expect.any(Date) });
  });

  test('pausing and resuming at once, over and over, ends with held deliveries only where the webhook is paused', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addPausedWebhook();
    const ids = await addDeliveries(fixture, webhookId, 20, { held: true });
    for (let round = 0; round < 10; round += 1) {
      await Promise.all([
        pauseWebhook(db, projectId, webhookId),
        hold(webhookId),
        resumeWebhook(db, projectId, webhookId),
        hold(webhookId),
      ]);
      await releaseHeldDeliveries(db);
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
    await releaseHeldDeliveries(db);
    await addDeliveries(fixture, await addPausedWebhook(), 3_000, { held: true });
    const stranded = await addDelivery(fixture, await addWebhook(fixture), { held: true });
    expect(await releaseHeldDeliveries(db)).toEqual([stranded]);
  });
});

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
