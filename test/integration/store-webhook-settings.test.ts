import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { uuidOf } from '../../src/domain/ids.ts';
import { WebhookCache } from '../../src/store/webhook-settings.ts';
import { rotateWebhookSecret } from '../../src/store/webhook-secrets.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook, updateWebhook } from '../../src/store/webhooks.ts';
import {
  addDelivery,
  addWebhook,
  createTestClaimer,
  openStoreFixture,
  readDelivery,
} from '../support/store-fixture.ts';
import type { Dispatch } from '../../src/domain/delivery.ts';
import type { WebhookId } from '../../src/domain/ids.ts';
import type { Claim, ClaimDelivery } from '../../src/store/claim-deliveries.ts';
import type { WebhookChanges } from '../../src/store/webhooks.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: StoreFixture;
/** Two workers, each with what it keeps. */
let claims: readonly ClaimDelivery[];

beforeAll(async () => {
  fixture = await openStoreFixture();
  const newClaimer = (): ClaimDelivery =>
    createTestClaimer(fixture, { retryScheduleSeconds: [60], claimLeaseMs: 60_000 });
  claims = [newClaimer(), newClaimer()];
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());

/** What the next claim of each worker comes to, of a new delivery each. */
async function claimEach(webhookId: WebhookId): Promise<Claim[]> {
  return await Promise.all(claims.map(async (claim) => await claim(await addDelivery(fixture, webhookId))));
}

async function dispatchEach(webhookId: WebhookId): Promise<Dispatch[]> {
  return (await claimEach(webhookId)).map((claimed) => {
    if (claimed.kind !== 'claimed') throw new Error(`the delivery is ${claimed.kind}`);
    return claimed.dispatch;
  });
}

async function change(webhookId: WebhookId, changes: WebhookChanges): Promise<void> {
  const { kind } = await updateWebhook(fixture.db, fixture.secretBox, fixture.projectId, {
    webhookId,
    changes,
    actor: testActor,
  });
  if (kind !== 'updated') throw new Error(`the webhook is ${kind}`);
}

async function rotate(webhookId: WebhookId, overlapSeconds: number): Promise<void> {
  await rotateWebhookSecret(fixture.db, fixture.secretBox, fixture.projectId, {
    webhookId,
    overlapSeconds,
    actor: testActor,
  });
}

function secretsOf(dispatches: readonly Dispatch[]): string[][] {
  return dispatches.map(({ secrets }) => secrets.map((secret) => Buffer.from(secret).toString('hex')));
}

const newCache = (): WebhookCache => new WebhookCache(fixture.db, fixture.secretBox, { retryScheduleSeconds: [60] });

describe('from the very next claim on, on every worker', () => {
  test('a changed url, header and schedule hold', async () => {
    const webhookId = await addWebhook(fixture, { url: 'https://old.example/' });
    expect((await dispatchEach(webhookId)).map(({ url }) => url)).toEqual([
      'https://old.example/',
      'https://old.example/',
    ]);
    const changes = { url: 'https://new.example/', headers: [{ name: 'x-a', value: 'b' }], retrySchedule: [7] };
    await change(webhookId, changes);
    for (const { url, headers, retryScheduleSeconds } of await dispatchEach(webhookId)) {
      expect({ url, headers, retrySchedule: retryScheduleSeconds }).toEqual(changes);
    }
  });

  test('a rotated secret signs, first beside the old one, and alone without an overlap', async () => {
    const webhookId = await addWebhook(fixture);
    const [[old = ''] = []] = secretsOf(await dispatchEach(webhookId));
    await rotate(webhookId, 3_600);
    const [both = [], same] = secretsOf(await dispatchEach(webhookId));
    expect(both).toEqual([expect.not.stringContaining(old), old]);
    expect(same).toEqual(both);
    await rotate(webhookId, 0);
    const [alone = [], alike] = secretsOf(await dispatchEach(webhookId));
    expect(alone).toHaveLength(1);
    expect([...both, old]).not.toContain(alone[0]);
    expect(alike).toEqual(alone);
  });

  test('a secret whose overlap is over signs no more, though nothing touches its webhook', async () => {
    const webhookId = await addWebhook(fixture);
    await rotate(webhookId, 0.5);
    const [both = []] = secretsOf(await dispatchEach(webhookId));
    expect(both).toHaveLength(2);
    const expiry = await fixture.db.prisma.webhookSecret.findFirstOrThrow({
      where: { webhookId: uuidOf(webhookId), expiresAt: { not: null } },
    });
    await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(expiry.expiresAt?.getTime() ?? Number.NaN), 5_000);
    expect(secretsOf(await dispatchEach(webhookId))).toEqual([[both[0]], [both[0]]]);
  });

  test('a pause holds, and a resumption lets go', async () => {
    const webhookId = await addWebhook(fixture);
    await dispatchEach(webhookId);
    await pauseWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    const id = await addDelivery(fixture, webhookId);
    expect(await Promise.all(claims.map(async (claim) => await claim(id)))).toEqual([
      { kind: 'dropped' },
      { kind: 'dropped' },
    ]);
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'PENDING', held: true, attemptCount: 0 });
    await resumeWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect(await claims[1]?.(id)).toMatchObject({ kind: 'claimed' });
  });

  test('a deletion cancels', async () => {
    const webhookId = await addWebhook(fixture);
    await dispatchEach(webhookId);
    await deleteWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect(await claimEach(webhookId)).toMatchObject([
      { kind: 'settled', delivery: { status: 'CANCELLED', failureReason: 'WEBHOOK_DELETED' } },
      { kind: 'settled', delivery: { status: 'CANCELLED', failureReason: 'WEBHOOK_DELETED' } },
    ]);
  });
});

describe('what a worker keeps of webhooks', () => {
  test('is given at once while it is young, and null by a promise for a webhook that there is not', async () => {
    const cache = newCache();
    const webhookId = await addWebhook(fixture, { rateLimitPerSecond: 9 });
    const first = cache.recent(webhookId);
    expect(first).toBeInstanceOf(Promise);
    expect(await first).toMatchObject({ rateLimitPerSecond: 9, circuit: null });
    expect(cache.recent(webhookId)).toBe(await first);
    await fixture.db.pipeline.query('delete from webhooks where id = $1', [uuidOf(webhookId)]);
    expect(await cache.reload(webhookId)).toBeNull();
  });

  test('is decrypted again only when its row has changed', async () => {
    const cache = newCache();
    const webhookId = await addWebhook(fixture);
    const before = await cache.reload(webhookId);
    expect((await cache.reload(webhookId))?.endpoint).toBe(before?.endpoint);
    await change(webhookId, { name: 'Another' });
    const after = await cache.reload(webhookId);
    expect(after?.endpoint).not.toBe(before?.endpoint);
    expect(after?.version).not.toBe(before?.version);
  });

  test('says that a circuit is open, and for how long by the clock of this process', async () => {
    const cache = newCache();
    const webhookId = await addWebhook(fixture);
    await fixture.db.pipeline.query(
      `update webhooks set status = 'FAILING', circuit_open_until = now() + interval '60 s', circuit_open_count = 3
       where id = $1`,
      [uuidOf(webhookId)],
    );
    const open = await cache.reload(webhookId);
    const openMs = (open?.circuit?.openUntilMs ?? 0) - performance.now();
    expect(open?.circuit?.openCount).toBe(3);
    expect([openMs > 50_000, openMs <= 60_000]).toEqual([true, true]);
  });

  test('is read again before it is given when it said a second ago that the circuit was open', async () => {
    const cache = newCache();
    const webhookId = await addWebhook(fixture);
    const setStatus = async (status: string): Promise<unknown> =>
      await fixture.db.pipeline.query(
        "update webhooks set status = $2::webhook_status, circuit_open_until = now() + interval '60 s' where id = $1",
        [uuidOf(webhookId), status],
      );
    await setStatus('FAILING');
    expect((await cache.reload(webhookId))?.circuit).not.toBeNull();
    await setStatus('ACTIVE');
    const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 1_001);
    const again = cache.recent(webhookId);
    clock.mockRestore();
    expect(again).toBeInstanceOf(Promise);
    expect((await again)?.circuit).toBeNull();
  });

  test('of one webhook that cannot be decrypted fails its own claims only', async () => {
    const [broken, sound] = [await addWebhook(fixture), await addWebhook(fixture)];
    await fixture.db.pipeline.query(
      "with s as (update webhook_secrets set ciphertext = 'x' where webhook_id = $1) update webhooks set name = 'Broken' where id = $1",
      [uuidOf(broken)],
    );
    const ids = [await addDelivery(fixture, broken), await addDelivery(fixture, sound)];
    const [failed, claimed] = await Promise.allSettled(ids.map(async (id) => await claims[0]?.(id)));
    expect(failed).toMatchObject({
      status: 'rejected',
      reason: expect.objectContaining({ message: expect.stringMatching(/cannot be read$/) }),
    });
    expect(claimed).toMatchObject({ status: 'fulfilled', value: { kind: 'claimed' } });
  });
});
