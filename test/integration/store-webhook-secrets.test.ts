import { beforeAll, describe, expect, test } from 'vitest';
import { uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { secretBytes } from '../../src/domain/signature.ts';
import { newId } from '../../src/store/new-id.ts';
import { rotateWebhookSecret } from '../../src/store/webhook-secrets.ts';
import { createWebhook, deleteWebhook } from '../../src/store/webhooks.ts';
import { addWebhook, openStoreFixture, plainWebhook, type StoreFixture } from '../support/store-fixture.ts';

let fixture: StoreFixture;

beforeAll(async () => {
  fixture = await openStoreFixture();
  return async () => await fixture[Symbol.asyncDispose]();
});

async function rotate(webhookId: WebhookId, overlapSeconds: number) {
  return await rotateWebhookSecret(fixture.db, fixture.secretBox, fixture.projectId, { webhookId, overlapSeconds });
}

/** The stored secrets in clear, newest first. */
async function readSecrets(webhookId: WebhookId) {
  const rows = await fixture.db.prisma.webhookSecret.findMany({
    where: { webhookId: uuidOf(webhookId) },
    orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
  });
  return rows.map((row) => ({
    id: row.id,
    createdAt: row.createdAt,
    expiresAt: row.expiresAt,
    text: fixture.secretBox.decrypt(row.ciphertext),
  }));
}

describe('webhook secrets', () => {
  test('a new webhook has one secret of 32 bytes, stored encrypted with a hint of its last four characters', async () => {
    const { db, secretBox, projectId } = fixture;
    const { webhook, secret } = await createWebhook(db, secretBox, projectId, plainWebhook);
    expect(secretBytes(secret)).toHaveLength(32);
    const rows = await db.prisma.webhookSecret.findMany({ where: { webhookId: webhook.id } });
    expect(rows).toHaveLength(1);
    expect(rows[0]?.hint).toBe(secret.slice(-4));
    expect(rows[0]?.expiresAt).toBeNull();
    expect(rows[0]?.ciphertext).not.toContain(secret.slice('whsec_'.length));
    expect(secretBox.decrypt(rows[0]?.ciphertext ?? '')).toBe(secret);
  });

  test('after a rotation the new secret signs for good and the old one for the overlap', async () => {
    const webhookId = await addWebhook(fixture);
    const before = Date.now();
    const rotated = await rotate(webhookId, 3_600);
    const [newest, old, ...others] = await readSecrets(webhookId);
    expect(rotated?.webhook.id).toBe(uuidOf(webhookId));
    expect(newest?.text).toBe(rotated?.secret);
    expect(newest?.expiresAt).toBeNull();
    const overlapMs = (old?.expiresAt?.getTime() ?? 0) - before;
    expect(overlapMs).toBeGreaterThan(3_590_000);
    expect(overlapMs).toBeLessThan(3_660_000);
    expect(others).toEqual([]);
  });

  test('a rotation without overlap leaves the new secret alone', async () => {
    const webhookId = await addWebhook(fixture);
    await rotate(webhookId, 3_600);
    const rotated = await rotate(webhookId, 0);
    const secrets = await readSecrets(webhookId);
    expect(secrets.map((secret) => secret.text)).toEqual([rotated?.secret]);
  });

  test('a second rotation with a longer overlap gives the first secret no more time than it had', async () => {
    const webhookId = await addWebhook(fixture);
    await rotate(webhookId, 600);
    const expiresAt = (await readSecrets(webhookId)).at(-1)?.expiresAt;
    await rotate(webhookId, 86_400);
    const secrets = await readSecrets(webhookId);
    expect(secrets).toHaveLength(3);
    expect(secrets.at(-1)?.expiresAt).toEqual(expiresAt);
  });

  test('a second rotation with a shorter overlap shortens the first one', async () => {
    const webhookId = await addWebhook(fixture);
    await rotate(webhookId, 86_400);
    await rotate(webhookId, 60);
    for (const secret of (await readSecrets(webhookId)).slice(1)) {
      expect(secret.expiresAt?.getTime()).toBeLessThan(Date.now() + 120_000);
    }
  });

  test('at most five secrets are kept, and the oldest go', async () => {
    const webhookId = await addWebhook(fixture);
    const rotated: (string | undefined)[] = [];
    for (let count = 0; count < 7; count += 1) rotated.push((await rotate(webhookId, 86_400))?.secret);
    const texts = (await readSecrets(webhookId)).map((secret) => secret.text);
    expect(texts).toEqual(rotated.toReversed().slice(0, 5));
  });

  test('rotations at the same time happen one after the other: one secret without expiry, none lost', async () => {
    const webhookId = await addWebhook(fixture);
    const rotated = await Promise.all(Array.from({ length: 4 }, async () => await rotate(webhookId, 3_600)));
    const secrets = await readSecrets(webhookId);
    expect(secrets).toHaveLength(5);
    expect(secrets.filter((secret) => secret.expiresAt === null)).toHaveLength(1);
    expect(secrets[0]?.expiresAt).toBeNull();
    const texts = secrets.map((secret) => secret.text);
    for (const rotation of rotated) expect(texts).toContain(rotation?.secret);
  });

  test("a stranger's, a deleted or an unknown webhook is not rotated", async () => {
    const { db, secretBox, projectId, strangerId } = fixture;
    const webhookId = await addWebhook(fixture);
    const before = await readSecrets(webhookId);
    expect(await rotateWebhookSecret(db, secretBox, strangerId, { webhookId, overlapSeconds: 0 })).toBeNull();
    expect(await rotate(newId('webhook'), 0)).toBeNull();
    await deleteWebhook(db, projectId, webhookId);
    expect(await rotate(webhookId, 0)).toBeNull();
    expect(await readSecrets(webhookId)).toEqual(before);
  });
});
