import { beforeAll, describe, expect, test } from 'vitest';
import { uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { parsePrivateKey, publicKeyText } from '../../src/domain/asymmetric-key.ts';
import { secretBytes } from '../../src/domain/signature.ts';

import { newId } from '../../src/store/new-id.ts';
import { rotateWebhookSecret } from '../../src/store/webhook-secrets.ts';
import { createWebhook, deleteWebhook, updateWebhook, type WebhookChanges } from '../../src/store/webhooks.ts';
import {
  createTestClaimer,
  addDelivery,
  addWebhook,
  openStoreFixture,
  plainWebhook,
  type StoreFixture,
} from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: StoreFixture;

beforeAll(async () => {
  fixture = await openStoreFixture();
  return async () => await fixture[Symbol.asyncDispose]();
});

async function rotate(webhookId: WebhookId, overlapSeconds: number) {
  return await rotateWebhookSecret(fixture.db, fixture.secretBox, fixture.projectId, {
    webhookId,
    overlapSeconds,
    actor: testActor,
  });
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
    algorithm: row.algorithm,
    publicKey: row.publicKey,
    hint: row.hint,
    text: fixture.secretBox.decrypt(row.ciphertext),
  }));
}

describe('webhook secrets', () => {
  test('a new webhook has one secret of 32 bytes, stored encrypted with a hint of its last four characters', async () => {
    const { db, secretBox, projectId } = fixture;
    const { webhook, secret } = await createWebhook(db, secretBox, projectId, { ...plainWebhook, actor: testActor });
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
    expect(
      await rotateWebhookSecret(db, secretBox, strangerId, { webhookId, overlapSeconds: 0, actor: testActor }),
    ).toBeNull();
    expect(await rotate(newId('webhook'), 0)).toBeNull();
    await deleteWebhook(db, projectId, webhookId, testActor);
    expect(await rotate(webhookId, 0)).toBeNull();
    expect(await readSecrets(webhookId)).toEqual(before);
  });
});

async function change(webhookId: WebhookId, changes: WebhookChanges): Promise<string> {
  const { db, secretBox, projectId } = fixture;
  return (await updateWebhook(db, secretBox, projectId, { webhookId, changes, actor: testActor })).kind;
}

/** The stored ed25519 keys, newest first. */
async function readKeys(webhookId: WebhookId) {
  return (await readSecrets(webhookId)).filter(({ algorithm }) => algorithm === 'ED25519');
}

async function publicKeysOf(webhookId: WebhookId): Promise<(string | null)[]> {
  return (await readKeys(webhookId)).map(({ publicKey }) => publicKey);
}

/** What a worker signs the webhook's next request with. */
async function loadSigningKeys(webhookId: WebhookId) {
  const claim = createTestClaimer(fixture, { retryScheduleSeconds: [60], claimLeaseMs: 60_000 });
  const claimed = await claim(await addDelivery(fixture, webhookId));
  if (claimed.kind !== 'claimed') throw new Error(`the delivery was ${claimed.kind}`);
  const { secrets, asymmetricKeys } = claimed.dispatch;
  return { secretCount: secrets.length, publicKeys: asymmetricKeys.map((key) => publicKeyText(key)) };
}

/** Changes with every change of the webhook's row. */
async function rowVersion(webhookId: WebhookId): Promise<string> {
  const { rows } = await fixture.db.pipeline.query<{ xmin: string }>('select xmin from webhooks where id = $1', [
    uuidOf(webhookId),
  ]);
  return rows[0]?.xmin ?? '';
}

describe('ed25519 keys', () => {
  test('a webhook that signs asymmetrically is made with one, encrypted, with its public key and a hint of that in clear', async () => {
    const webhookId = await addWebhook(fixture, { signAsymmetrically: true });
    const keys = await readKeys(webhookId);
    const stored = await fixture.db.prisma.webhookSecret.findMany({ where: { webhookId: uuidOf(webhookId) } });
    expect(keys).toHaveLength(1);
    for (const { text, publicKey, hint } of keys) {
      expect(text).toMatch(/^whsk_[A-Za-z0-9+/]{43}=$/);
      expect(publicKey).toMatch(/^whpk_[A-Za-z0-9+/]{43}=$/);
      expect(publicKeyText(parsePrivateKey(text))).toBe(publicKey);
      expect(publicKey?.slice(-4)).toBe(hint);
      expect(JSON.stringify(stored)).not.toContain(text.slice('whsk_'.length, 24));
      expect(await loadSigningKeys(webhookId)).toEqual({ secretCount: 1, publicKeys: [publicKey] });
    }
  });

  test('a webhook that does not sign asymmetrically has none, rotated or not', async () => {
    const webhookId = await addWebhook(fixture);
    await rotate(webhookId, 3_600);
    expect(await readKeys(webhookId)).toEqual([]);
    expect(await loadSigningKeys(webhookId)).toEqual({ secretCount: 2, publicKeys: [] });
  });

  test('one is made when the option is turned on; it rests while it is off, and signs again after', async () => {
    const webhookId = await addWebhook(fixture);
    expect(await change(webhookId, { signAsymmetrically: true })).toBe('updated');
    const keys = await publicKeysOf(webhookId);
    expect(keys).toHaveLength(1);
    await change(webhookId, { signAsymmetrically: true, name: 'Renamed' });
    await change(webhookId, { signAsymmetrically: false });
    expect(await loadSigningKeys(webhookId)).toEqual({ secretCount: 1, publicKeys: [] });
    await change(webhookId, { signAsymmetrically: true });
    expect(await publicKeysOf(webhookId)).toEqual(keys);
    expect(await loadSigningKeys(webhookId)).toEqual({ secretCount: 1, publicKeys: keys });
  });

  test('a rotation replaces the key with the same overlap as the secret, and without overlap at once', async () => {
    const webhookId = await addWebhook(fixture, { signAsymmetrically: true });
    const [first] = await publicKeysOf(webhookId);
    await rotate(webhookId, 3_600);
    const [second, old] = await readKeys(webhookId);
    expect([second?.expiresAt, old?.publicKey]).toEqual([null, first]);
    const symmetric = (await readSecrets(webhookId)).filter(({ algorithm }) => algorithm === 'HMAC_SHA256');
    expect(old?.expiresAt).toEqual(symmetric.at(-1)?.expiresAt);
    expect(await loadSigningKeys(webhookId)).toEqual({ secretCount: 2, publicKeys: [second?.publicKey, first] });
    await rotate(webhookId, 0);
    const [third, ...others] = await publicKeysOf(webhookId);
    expect(others).toEqual([]);
    expect([first, second?.publicKey]).not.toContain(third);
    expect(await loadSigningKeys(webhookId)).toEqual({ secretCount: 1, publicKeys: [third] });
  });

  test('a key that was rotated away while it rested does not sign for good when the option comes back', async () => {
    const webhookId = await addWebhook(fixture, { signAsymmetrically: true });
    const [first] = await publicKeysOf(webhookId);
    await change(webhookId, { signAsymmetrically: false });
    await rotate(webhookId, 3_600);
    await change(webhookId, { signAsymmetrically: true });
    const [second, old, ...others] = await readKeys(webhookId);
    expect([second?.expiresAt, old?.publicKey, others]).toEqual([null, first, []]);
    expect(old?.expiresAt).toBeInstanceOf(Date);
  });

  test('at most five keys and five secrets sign at once, however they came about', async () => {
    const webhookId = await addWebhook(fixture, { signAsymmetrically: true });
    for (let count = 0; count < 6; count += 1) await rotate(webhookId, 86_400);
    const keys = await publicKeysOf(webhookId);
    await change(webhookId, { signAsymmetrically: false });
    await rotate(webhookId, 86_400);
    await change(webhookId, { signAsymmetrically: true });
    const { secretCount, publicKeys } = await loadSigningKeys(webhookId);
    expect(secretCount).toBe(5);
    expect(publicKeys).toHaveLength(5);
    expect(publicKeys.slice(1)).toEqual(keys.slice(0, 4));
  });

  test('whatever changes a webhook’s secrets gives its row a new version', async () => {
    const webhookId = await addWebhook(fixture);
    const versions = [await rowVersion(webhookId)];
    for (const step of [
      async () => await rotate(webhookId, 60),
      async () => await change(webhookId, { signAsymmetrically: true }),
      async () => await rotate(webhookId, 60),
      async () => await rotate(webhookId, 0),
      async () => await change(webhookId, { signAsymmetrically: false }),
    ]) {
      await step();
      versions.push(await rowVersion(webhookId));
    }
    expect(new Set(versions).size).toBe(versions.length);
  });
});
