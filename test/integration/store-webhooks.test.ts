import { beforeAll, describe, expect, test } from 'vitest';
import { uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { newId } from '../../src/store/new-id.ts';
import { webhookHeaders } from '../../src/store/webhook-headers.ts';
import { createWebhook, deleteWebhook, updateWebhook, type WebhookChanges } from '../../src/store/webhooks.ts';
import {
  addDeliveries,
  addDelivery,
  addWebhook,
  openStoreFixture,
  plainWebhook,
  readDelivery,
  type StoreFixture,
} from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: StoreFixture;

beforeAll(async () => {
  fixture = await openStoreFixture();
  return async () => await fixture[Symbol.asyncDispose]();
});

/** The webhook as it is after the change; null when the project has none such. */
async function change(webhookId: WebhookId, changes: WebhookChanges) {
  const updated = await updateWebhook(fixture.db, fixture.secretBox, fixture.projectId, {
    webhookId,
    changes,
    actor: testActor,
  });
  if (updated.kind === 'unsignable') throw new Error('the signatures cannot be had');
  return updated.kind === 'updated' ? updated.webhook : null;
}

async function readWebhook(webhookId: WebhookId) {
  return await fixture.db.prisma.webhook.findUniqueOrThrow({ where: { id: uuidOf(webhookId) } });
}

describe('createWebhook', () => {
  test('stores what was said, active, with header values encrypted', async () => {
    const { db, secretBox, projectId } = fixture;
    const input = {
      ...plainWebhook,
      description: 'Tells the deploy channel',
      eventTypes: ['config.*', 'app.created'],
      headers: [{ name: 'authorization', value: 'Bearer abc' }],
      signatureStyle: 'TIMESTAMPED_HEX' as const,
      maxAttempts: 3,
      retrySchedule: [1, 2],
      rateLimitPerSecond: 50,
    };
    const { webhook } = await createWebhook(db, secretBox, projectId, { ...input, actor: testActor });
    const stored = await db.prisma.webhook.findUniqueOrThrow({ where: { id: webhook.id } });
    expect(stored).toEqual(webhook);
    expect(stored).toMatchObject({ ...input, headers: expect.anything(), status: 'ACTIVE', deletedAt: null });
    expect(stored.projectId).toBe(uuidOf(projectId));
    expect(JSON.stringify(stored.headers)).not.toContain('Bearer');
    expect(webhookHeaders(secretBox, stored)).toEqual(input.headers);
  });
});

describe('updateWebhook', () => {
  test('changes what is given and nothing else', async () => {
    const webhookId = await addWebhook(fixture, { headers: [{ name: 'x-team', value: 'platform' }] });
    const before = await readWebhook(webhookId);
    const changed = await change(webhookId, { name: 'Renamed', eventTypes: ['a.b'], maxAttempts: undefined });
    expect(changed).toEqual({ ...before, name: 'Renamed', eventTypes: ['a.b'], updatedAt: changed?.updatedAt });
    expect(await readWebhook(webhookId)).toEqual(changed);
    expect(changed?.updatedAt.getTime()).toBeGreaterThanOrEqual(before.updatedAt.getTime());
  });

  test('null clears a limit, and an empty list a schedule', async () => {
    const webhookId = await addWebhook(fixture, { maxAttempts: 3, retrySchedule: [5], rateLimitPerSecond: 9 });
    const changed = await change(webhookId, { maxAttempts: null, retrySchedule: [], rateLimitPerSecond: null });
    expect(changed).toMatchObject({ maxAttempts: null, retrySchedule: [], rateLimitPerSecond: null });
  });

  test('headers are replaced as a whole, and a masked value keeps the one behind it', async () => {
    const webhookId = await addWebhook(fixture, {
      headers: [
        { name: 'authorization', value: 'Bearer 1234567890' },
        { name: 'x-team', value: 'platform' },
      ],
    });
    const changed = await change(webhookId, {
      headers: [
        { name: 'authorization', value: '••••7890' },
        { name: 'x-region', value: 'eu' },
      ],
    });
    expect(webhookHeaders(fixture.secretBox, changed ?? { headers: null })).toEqual([
      { name: 'authorization', value: 'Bearer 1234567890' },
      { name: 'x-region', value: 'eu' },
    ]);
  });

  test("a stranger's, a deleted or an unknown webhook is not changed", async () => {
    const { db, secretBox, strangerId, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const changes = { name: 'Stolen', headers: [] };
    expect(await updateWebhook(db, secretBox, strangerId, { webhookId, changes, actor: testActor })).toEqual({
      kind: 'missing',
    });
    expect(await change(newId('webhook'), changes)).toBeNull();
    await deleteWebhook(db, projectId, webhookId, testActor);
    expect(await change(webhookId, changes)).toBeNull();
    expect((await readWebhook(webhookId)).name).toBe(plainWebhook.name);
  });
});

describe('signing asymmetrically', () => {
  test('is refused with TIMESTAMPED_HEX, whichever of the two is changed, and nothing else of the change is kept', async () => {
    const { db, secretBox, projectId } = fixture;
    const hex = await addWebhook(fixture, { signatureStyle: 'TIMESTAMPED_HEX' });
    const asymmetric = await addWebhook(fixture, { signAsymmetrically: true });
    for (const [webhookId, changes] of [
      [hex, { name: 'Renamed', signAsymmetrically: true }],
      [asymmetric, { name: 'Renamed', signatureStyle: 'TIMESTAMPED_HEX' }],
    ] as const) {
      const before = await readWebhook(webhookId);
      expect(await updateWebhook(db, secretBox, projectId, { webhookId, changes, actor: testActor })).toEqual({
        kind: 'unsignable',
      });
      expect(await readWebhook(webhookId)).toEqual(before);
    }
  });

  test('and another style, asked for at the same time, are never both given', async () => {
    const { db, secretBox, projectId } = fixture;
    for (let round = 0; round < 10; round += 1) {
      const webhookId = await addWebhook(fixture);
      const updates = await Promise.all(
        [{ signAsymmetrically: true }, { signatureStyle: 'TIMESTAMPED_HEX' } as const].map(
          async (changes) => await updateWebhook(db, secretBox, projectId, { webhookId, changes, actor: testActor }),
        ),
      );
      expect(updates.map(({ kind }) => kind).toSorted()).toEqual(['unsignable', 'updated']);
    }
  });

  test('can be exchanged for another style in one change', async () => {
    const webhookId = await addWebhook(fixture, { signAsymmetrically: true });
    const changed = await change(webhookId, { signAsymmetrically: false, signatureStyle: 'TIMESTAMPED_HEX' });
    expect(changed).toMatchObject({ signAsymmetrically: false, signatureStyle: 'TIMESTAMPED_HEX' });
  });
});

describe('deleteWebhook', () => {
  test('cancels what waits, and leaves alone what is under way, has ended or is only just emitted', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const other = await addDelivery(fixture, await addWebhook(fixture), { dueAt: new Date() });
    const waiting = [
      await addDelivery(fixture, webhookId, { dueAt: new Date() }),
      await addDelivery(fixture, webhookId, { status: 'RETRYING', attemptCount: 1, dueAt: new Date(Date.now() + 9e6) }),
      await addDelivery(fixture, webhookId, { held: true }),
    ];
    const untouched = [
      other,
      await addDelivery(fixture, webhookId),
      await addDelivery(fixture, webhookId, { status: 'DELIVERING', claimedAt: new Date(), dueAt: new Date() }),
      await addDelivery(fixture, webhookId, { status: 'DELIVERED', finishedAt: new Date() }),
      await addDelivery(fixture, webhookId, { status: 'FAILED', failureReason: 'EXHAUSTED', finishedAt: new Date() }),
    ];
    const before = await Promise.all(untouched.map(async (id) => await readDelivery(fixture, id)));
    const deleted = await deleteWebhook(db, projectId, webhookId, testActor);
    expect(deleted?.webhook.deletedAt).toBeInstanceOf(Date);
    expect(deleted?.cancelled.toSorted()).toEqual(waiting);
    for (const id of waiting) {
      expect(await readDelivery(fixture, id)).toMatchObject({
        status: 'CANCELLED',
        failureReason: 'WEBHOOK_DELETED',
        finishedAt: expect.any(Date),
        dueAt: null,
        held: false,
      });
    }
    expect(await Promise.all(untouched.map(async (id) => await readDelivery(fixture, id)))).toEqual(before);
  });

  test('cancels more deliveries than one statement takes', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const ids = await addDeliveries(fixture, webhookId, 2_100, { held: true });
    const deleted = await deleteWebhook(db, projectId, webhookId, testActor);
    expect(deleted?.cancelled.toSorted()).toEqual(ids);
  });

  test('a webhook is deleted once, and never by a stranger', async () => {
    const { db, projectId, strangerId } = fixture;
    const webhookId = await addWebhook(fixture);
    const held = await addDelivery(fixture, webhookId, { held: true });
    expect(await deleteWebhook(db, strangerId, webhookId, testActor)).toBeNull();
    expect(await deleteWebhook(db, projectId, newId('webhook'), testActor)).toBeNull();
    expect((await readDelivery(fixture, held)).status).toBe('PENDING');
    const both = await Promise.all([
      deleteWebhook(db, projectId, webhookId, testActor),
      deleteWebhook(db, projectId, webhookId, testActor),
    ]);
    expect(both.filter((result) => result !== null)).toHaveLength(1);
    expect(both.find((result) => result !== null)?.cancelled).toEqual([held]);
  });
});
