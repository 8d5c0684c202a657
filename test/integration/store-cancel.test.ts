import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { decide, type Dispatch } from '../../src/domain/delivery.ts';
import { type DeliveryId, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { cancelDelivery } from '../../src/store/cancel-delivery.ts';
import { releaseHeldDeliveries } from '../../src/store/held-deliveries.ts';
import { newId } from '../../src/store/new-id.ts';
import { createRecorder, type RecordAttempt, type RecordedAttempt } from '../../src/store/record-attempts.ts';
import { resendDelivery } from '../../src/store/resend-delivery.ts';
import { indexOpenDeliveries, listDue } from '../../src/store/sweep.ts';
import { resumeWebhook } from '../../src/store/webhook-status.ts';
import { answered } from '../support/send-result.ts';
import {
  addDelivery,
  addWebhook,
  createTestClaimer,
  openStoreFixture,
  readDelivery,
} from '../support/store-fixture.ts';
import type { ClaimDelivery } from '../../src/store/claim-deliveries.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

const claimLeaseMs = 60_000;

let fixture: StoreFixture;
let webhookId: WebhookId;
let claim: ClaimDelivery;
let record: RecordAttempt;

beforeAll(async () => {
  fixture = await openStoreFixture();
  claim = createTestClaimer(fixture, { retryScheduleSeconds: [60], claimLeaseMs });
  record = createRecorder(fixture.db, { maxAttempts: 3 });
  return async () => await fixture[Symbol.asyncDispose]();
});
beforeEach(async () => {
  webhookId = await addWebhook(fixture);
});

async function cancel(id: DeliveryId, projectId = fixture.projectId) {
  return await cancelDelivery(fixture.db, projectId, id, testActor);
}

async function claimed(id: DeliveryId): Promise<Dispatch> {
  const result = await claim(id);
  if (result.kind !== 'claimed') throw new Error(result.kind);
  return result.dispatch;
}

async function answer(dispatch: Dispatch, status: number): Promise<RecordedAttempt> {
  const result = answered(status);
  return await record({ dispatch, result, decision: decide(dispatch, result, 0.5) });
}

const cancelled = {
  status: 'CANCELLED',
  failureReason: 'CANCELLED_BY_USER',
  finishedAt: expect.any(Date),
  dueAt: null,
  claimedAt: null,
  held: false,
};

describe('a delivery that waits', () => {
  test.each([
    ['new', {}],
    ['for later', { dueAt: new Date(Date.now() + 3_600_000) }],
    ['held', { held: true }],
    ['to be retried', { status: 'RETRYING', attemptCount: 2, dueAt: new Date() }],
    ['to be retried, held', { status: 'RETRYING', attemptCount: 2, held: true }],
  ] as const)('is cancelled at once (%s), and nothing takes it any more', async (_name, columns) => {
    const id = await addDelivery(fixture, webhookId, columns);
    const result = await cancel(id);
    const delivery = await readDelivery(fixture, id);
    expect(result).toEqual({ kind: 'cancelled', delivery });
    expect(delivery).toMatchObject({ ...cancelled, attemptCount: 'attemptCount' in columns ? 2 : 0 });
    await resumeWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    await indexOpenDeliveries(fixture.db, { graceMs: 0, claimLeaseMs }, new AbortController().signal);
    expect(await releaseHeldDeliveries(fixture.db)).not.toContain(id);
    expect(await listDue(fixture.db, 0, 1_000)).not.toContain(id);
    expect((await claim(id)).kind).toBe('dropped');
    expect(await readDelivery(fixture, id)).toEqual(delivery);
  });
});

describe('a delivery whose attempt is under way', () => {
  test.each([200, 410, 500])('stays cancelled when that answers %i, and the attempt is recorded', async (status) => {
    const id = await addDelivery(fixture, webhookId);
    const dispatch = await claimed(id);
    expect((await cancel(id)).kind).toBe('cancelled');
    const delivery = await readDelivery(fixture, id);
    expect(delivery).toMatchObject({ ...cancelled, attemptCount: 1 });
    expect(await answer(dispatch, status)).toMatchObject({
      decided: false,
      delivery: { status: 'CANCELLED', attemptCount: 1, dueAt: null, failureReason: 'CANCELLED_BY_USER' },
    });
    expect(await readDelivery(fixture, id)).toEqual(delivery);
    const attempts = await fixture.db.prisma.attempt.findMany({ where: { deliveryId: uuidOf(id) } });
    expect(attempts).toMatchObject([{ number: 1, responseStatus: status }]);
  });

  test('that is resent gets a whole new round, and no two attempts the same number', async () => {
    const id = await addDelivery(fixture, webhookId);
    const underWay = await claimed(id);
    await cancel(id);
    const resent = await resendDelivery(fixture.db, fixture.projectId, id, {
      defaultMaxAttempts: 6,
      claimLeaseMs,
      actor: testActor,
    });
    expect(resent).toMatchObject({ kind: 'resent', delivery: { roundStart: 1, maxAttempts: 7 } });
    const again = await claimed(id);
    expect(again).toMatchObject({ attemptNumber: 2, roundStart: 1 });
    expect((await answer(underWay, 200)).decided).toBe(false);
    expect((await answer(again, 500)).decided).toBe(true);
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'RETRYING', attemptCount: 2 });
  });

  test('is cancelled or recorded first, never both', async () => {
    for (let round = 0; round < 20; round += 1) {
      const id = await addDelivery(fixture, webhookId);
      const dispatch = await claimed(id);
      const [result, recorded] = await Promise.all([cancel(id), answer(dispatch, 200)]);
      expect(result.kind).toBe(recorded.decided ? 'ended' : 'cancelled');
      expect(await readDelivery(fixture, id)).toMatchObject({
        status: recorded.decided ? 'DELIVERED' : 'CANCELLED',
        attemptCount: 1,
        claimedAt: null,
      });
    }
  });
});

test.each(['DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED'] as const)(
  'a delivery that is %s has ended and stays as it is',
  async (status) => {
    const id = await addDelivery(fixture, webhookId, { status, failureReason: 'GONE', finishedAt: new Date() });
    const before = await readDelivery(fixture, id);
    expect(await cancel(id)).toEqual({ kind: 'ended', status });
    expect(await readDelivery(fixture, id)).toEqual(before);
  },
);

test('cancelled several times at once, it is cancelled once', async () => {
  const id = await addDelivery(fixture, webhookId);
  const kinds = (await Promise.all(Array.from({ length: 5 }, async () => await cancel(id)))).map(({ kind }) => kind);
  expect(kinds.toSorted()).toEqual(['cancelled', 'ended', 'ended', 'ended', 'ended']);
});

test('a stranger and an unknown id find nothing', async () => {
  const id = await addDelivery(fixture, webhookId);
  expect(await cancel(id, fixture.strangerId)).toEqual({ kind: 'not-found' });
  expect(await cancel(newId('delivery'))).toEqual({ kind: 'not-found' });
  expect((await readDelivery(fixture, id)).status).toBe('PENDING');
});
