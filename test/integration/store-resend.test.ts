import { beforeAll, describe, expect, test } from 'vitest';
import { type DeliveryStatus, deliveryStatuses } from '../../src/domain/delivery.ts';
import { type DeliveryId, idFromUuid, type ProjectId, uuidOf } from '../../src/domain/ids.ts';
import { ledger } from '../../src/store/ledger.ts';
import { newId } from '../../src/store/new-id.ts';
import { createProject } from '../../src/store/projects.ts';
import { resendDelivery, type ResendResult } from '../../src/store/resend-delivery.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import {
  addDeliveries,
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

async function resend(id: DeliveryId, projectId: ProjectId = fixture.projectId): Promise<ResendResult> {
  return await resendDelivery(fixture.db, projectId, id, {
    defaultMaxAttempts: 6,
    claimLeaseMs: 30_000,
    actor: testActor,
  });
}

describe('resendDelivery', () => {
  test.each(deliveryStatuses.filter((status) => status !== 'DELIVERING'))(
    'a %s delivery is due now, and starts a new round with all its attempts',
    async (status: DeliveryStatus) => {
      const id = await addDelivery(fixture, await addWebhook(fixture), {
        status,
        attemptCount: 4,
        failureReason: 'EXHAUSTED',
        finishedAt: new Date(),
        dueAt: new Date(Date.now() + 3_600_000),
      });
      const result = await resend(id);
      const delivery = await readDelivery(fixture, id);
      expect(result).toEqual({ kind: 'resent', delivery });
      expect(delivery).toMatchObject({
        status: 'PENDING',
        trigger: 'MANUAL',
        attemptCount: 4,
        roundStart: 4,
        maxAttempts: 10,
        failureReason: null,
        finishedAt: null,
        claimedAt: null,
        held: false,
      });
      expect(Math.abs((delivery.dueAt?.getTime() ?? 0) - Date.now())).toBeLessThan(60_000);
    },
  );

  test("the webhook's own number of attempts counts before the default", async () => {
    const id = await addDelivery(fixture, await addWebhook(fixture, { maxAttempts: 2 }), {
      status: 'FAILED',
      attemptCount: 2,
    });
    expect(await resend(id)).toMatchObject({ kind: 'resent', delivery: { roundStart: 2, maxAttempts: 4 } });
  });

  test('a delivery under way is not touched', async () => {
    const id = await addDelivery(fixture, await addWebhook(fixture), { status: 'DELIVERING', claimedAt: new Date() });
    const before = await readDelivery(fixture, id);
    expect(await resend(id)).toEqual({ kind: 'in-flight' });
    expect(await readDelivery(fixture, id)).toEqual(before);
  });

  test('a delivery whose worker is gone is resent, and the old claim no longer holds', async () => {
    const id = await addDelivery(fixture, await addWebhook(fixture), {
      status: 'DELIVERING',
      claimedAt: new Date(Date.now() - 31_000),
    });
    expect(await resend(id)).toMatchObject({ kind: 'resent', delivery: { status: 'PENDING', claimedAt: null } });
  });

  test('a delivery of a disabled or deleted webhook is refused with the reason', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const id = await addDelivery(fixture, webhookId, { status: 'FAILED' });
    await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId }, 'GONE');
    expect(await resend(id)).toEqual({ kind: 'webhook-unavailable', status: 'DISABLED' });
    await deleteWebhook(db, projectId, webhookId, testActor);
    expect(await resend(id)).toEqual({ kind: 'webhook-unavailable', status: 'DELETED' });
    expect((await readDelivery(fixture, id)).status).toBe('FAILED');
  });

  test('a delivery of a paused webhook is resent: the claim will hold it', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const id = await addDelivery(fixture, webhookId, { status: 'FAILED' });
    await pauseWebhook(db, projectId, webhookId, testActor);
    expect((await resend(id)).kind).toBe('resent');
  });

  test('a stranger and an unknown id find nothing', async () => {
    const id = await addDelivery(fixture, await addWebhook(fixture), { status: 'FAILED' });
    expect(await resend(id, fixture.strangerId)).toEqual({ kind: 'not-found' });
    expect(await resend(newId('delivery'))).toEqual({ kind: 'not-found' });
    expect((await readDelivery(fixture, id)).status).toBe('FAILED');
  });

  test('resent several times at once, it starts one round', async () => {
    const id = await addDelivery(fixture, await addWebhook(fixture), { status: 'FAILED', attemptCount: 6 });
    const results = await Promise.all(Array.from({ length: 5 }, async () => await resend(id)));
    expect(results.map((result) => result.kind)).toEqual(Array.from({ length: 5 }, () => 'resent'));
    expect(await readDelivery(fixture, id)).toMatchObject({ attemptCount: 6, roundStart: 6, maxAttempts: 12 });
  });

  test('a claim that came first wins: the resend waits for it and finds the delivery in flight', async () => {
    const { db } = fixture;
    const id = await addDelivery(fixture, await addWebhook(fixture), { dueAt: new Date() });
    const claim = await db.pipeline.connect();
    try {
      await claim.query('begin');
      await claim.query(`update deliveries set status = 'DELIVERING', claimed_at = now() where id = $1`, [uuidOf(id)]);
      const result = resend(id);
      await waitForBlockedQuery();
      await claim.query('commit');
      expect(await result).toEqual({ kind: 'in-flight' });
    } finally {
      claim.release();
    }
  });

  test('resends and the deletion of their webhook at once leave no delivery waiting', async () => {
    const { db, projectId } = fixture;
    for (let round = 0; round < 10; round += 1) {
      const webhookId = await addWebhook(fixture);
      const ids = await addDeliveries(fixture, webhookId, 6, { status: 'FAILED', finishedAt: new Date() });
      const [results, deleted] = await Promise.all([
        Promise.all(ids.map(async (id) => await resend(id))),
        deleteWebhook(db, projectId, webhookId, testActor),
      ]);
      const resent = ids.filter((_, index) => results[index]?.kind === 'resent');
      expect(deleted?.cancelled.toSorted()).toEqual(resent);
      const refused = results.filter((result) => result.kind !== 'resent');
      for (const result of refused) expect(result).toEqual({ kind: 'webhook-unavailable', status: 'DELETED' });
      for (const id of resent) expect((await readDelivery(fixture, id)).status).toBe('CANCELLED');
    }
  });

  test('a deletion that came first is waited for, and the resend refused', async () => {
    const { db } = fixture;
    const webhookId = await addWebhook(fixture);
    const id = await addDelivery(fixture, webhookId, { status: 'FAILED' });
    const deletion = await db.pipeline.connect();
    try {
      await deletion.query('begin');
      await deletion.query('update webhooks set deleted_at = now() where id = $1', [uuidOf(webhookId)]);
      const result = resend(id);
      await waitForBlockedQuery();
      await deletion.query('commit');
      expect(await result).toEqual({ kind: 'webhook-unavailable', status: 'DELETED' });
    } finally {
      deletion.release();
    }
  });
});

describe('ledger', () => {
  test("counts the project's deliveries by status, all of them accepted, and no stranger's", async () => {
    const { db } = fixture;
    const projectId = idFromUuid('project', (await createProject(db, 'Counted')).id);
    const counted = { ...fixture, projectId };
    const webhookId = await addWebhook(counted);
    for (const [index, status] of deliveryStatuses.entries()) {
      await addDeliveries(counted, webhookId, index + 1, { status });
    }
    expect(await ledger(db, projectId)).toEqual({
      accepted: 28,
      counts: { PENDING: 1, DELIVERING: 2, DELIVERED: 3, RETRYING: 4, FAILED: 5, SKIPPED: 6, CANCELLED: 7 },
    });
    expect((await ledger(db, fixture.strangerId)).accepted).toBe(0);
  });
});

/** Resolves once a session of this database waits for a lock of another. */
async function waitForBlockedQuery(): Promise<void> {
  await expect
    .poll(
      async () => {
        const { rowCount } = await fixture.db.pipeline.query(
          `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        );
        return rowCount;
      },
      { timeout: 4_000, interval: 10 },
    )
    .toBeGreaterThan(0);
}
