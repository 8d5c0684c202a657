import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { decide } from '../../src/domain/delivery.ts';
import { uuidOf } from '../../src/domain/ids.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { ledger } from '../../src/store/ledger.ts';
import { createRecorder } from '../../src/store/record-attempts.ts';
import { resendDelivery } from '../../src/store/resend-delivery.ts';
import { indexOpenDeliveries, listDue, releaseAllClaims } from '../../src/store/sweep.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { createTestClaimer, addWebhook, idsOf, openStoreFixture, readDelivery } from '../support/store-fixture.ts';
import type { Dispatch, SendResult } from '../../src/domain/delivery.ts';
import type { DeliveryId, WebhookId } from '../../src/domain/ids.ts';
import type { ClaimDelivery } from '../../src/store/claim-deliveries.ts';
import type { EmitEvent } from '../../src/store/emit-event.ts';
import type { RecordAttempt } from '../../src/store/record-attempts.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

const never = new AbortController().signal;

function answered(status: number): SendResult {
  return {
    startedAt: new Date(),
    durationMs: 12.3,
    timings: { dnsMs: null, connectMs: 0.4, tlsMs: null, firstByteMs: 11.9 },
    response: { status, headers: [{ name: 'x-a', value: 'b' }], body: 'answer' },
    errorCode: null,
    errorMessage: null,
    retryAfterMs: null,
    receiverControl: null,
  };
}

describe('claim, record and sweep', () => {
  let fixture: StoreFixture;
  let webhookId: WebhookId;
  let emitEvent: EmitEvent;
  let claim: ClaimDelivery;
  let record: RecordAttempt;

  beforeAll(async () => {
    fixture = await openStoreFixture();
    emitEvent = createEmitter(fixture.db, { maxAttempts: 3 });
    claim = createTestClaimer(fixture, { retryScheduleSeconds: [0, 0.001], claimLeaseMs: 60_000 });
    record = createRecorder(fixture.db, { maxAttempts: 3 });
  });
  afterAll(async () => await fixture?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    await fixture.db.pipeline.query('truncate deliveries, attempts, events');
    await fixture.db.pipeline.query('update webhooks set deleted_at = now()');
    webhookId = await addWebhook(fixture, { headers: [{ name: 'authorization', value: 'Basic x' }] });
  });

  async function emit(): Promise<DeliveryId> {
    const result = await emitEvent({
      projectId: fixture.projectId,
      type: 'config.deployed',
      data: { version: 1 },
      idempotencyKey: null,
      occurredAt: new Date(),
      deliverAt: null,
      testWebhookId: null,
    });
    const id = result.kind === 'stored' ? result.deliveries[0]?.id : undefined;
    if (id === undefined) throw new Error('no delivery');
    return id;
  }

  async function claimed(id: DeliveryId): Promise<Dispatch> {
    const result = await claim(id);
    if (result.kind !== 'claimed') throw new Error(result.kind);
    return result.dispatch;
  }

  async function attempt(id: DeliveryId, status: number): Promise<void> {
    const dispatch = await claimed(id);
    const result = answered(status);
    await record({ dispatch, result, decision: decide(dispatch, result, 0.5) });
  }

  test('a claim loads everything that an attempt needs, decrypted', async () => {
    const id = await emit();
    const dispatch = await claimed(id);
    expect(dispatch).toMatchObject({
      deliveryId: id,
      webhookId,
      projectId: fixture.projectId,
      eventType: 'config.deployed',
      url: 'https://example.com/hook',
      headers: [{ name: 'authorization', value: 'Basic x' }],
      attemptNumber: 1,
      maxAttempts: 3,
      retryScheduleSeconds: [0, 0.001],
      trigger: 'AUTOMATIC',
    });
    expect(dispatch.secrets.map((secret) => secret.length)).toEqual([32]);
    expect(JSON.parse(dispatch.body)).toMatchObject({ id: dispatch.eventId, data: { version: 1 } });
  });

  test('of twenty claims of one delivery at once, one gets it', async () => {
    const id = await emit();
    const other = createTestClaimer(fixture, { retryScheduleSeconds: [], claimLeaseMs: 60_000 });
    const claims = await Promise.all(
      Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? claim(id) : other(id))),
    );
    expect(claims.filter((result) => result.kind === 'claimed')).toHaveLength(1);
  });

  test('500, 500, 200 gives three attempt rows and a delivered delivery', async () => {
    const id = await emit();
    await attempt(id, 500);
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'RETRYING', attemptCount: 1, finishedAt: null });
    await attempt(id, 500);
    await attempt(id, 200);
    const row = await readDelivery(fixture, id);
    expect(row).toMatchObject({ status: 'DELIVERED', attemptCount: 3, dueAt: null, claimedAt: null });
    expect(row.finishedAt).not.toBeNull();
    const attempts = await fixture.db.prisma.attempt.findMany({
      where: { deliveryId: row.id },
      orderBy: { id: 'asc' },
    });
    expect(attempts.map((each) => [each.number, each.responseStatus, each.outcome])).toEqual([
      [1, 500, 'FAILED'],
      [2, 500, 'FAILED'],
      [3, 200, 'SUCCEEDED'],
    ]);
    expect(attempts[0]).toMatchObject({ durationMs: 12, responseBody: 'answer', connectMs: 0, firstByteMs: 12 });
  });

  test('a delivery whose every attempt fails ends FAILED as exhausted, and a resend gives it a new round', async () => {
    const id = await emit();
    for (const _ of [1, 2, 3]) await attempt(id, 500);
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'FAILED', failureReason: 'EXHAUSTED' });
    const resent = await resendDelivery(fixture.db, fixture.projectId, id, {
      defaultMaxAttempts: 3,
      claimLeaseMs: 60_000,
      actor: testActor,
    });
    expect(resent.kind).toBe('resent');
    const dispatch = await claimed(id);
    expect(dispatch).toMatchObject({ attemptNumber: 4, roundStart: 3, maxAttempts: 6, trigger: 'MANUAL' });
    const result = answered(500);
    await record({ dispatch, result, decision: decide(dispatch, result, 0.5) });
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'RETRYING', trigger: 'AUTOMATIC' });
  });

  test('a worker whose claim was lost stores its attempt and changes nothing else', async () => {
    const id = await emit();
    const dispatch = await claimed(id);
    await releaseAllClaims(fixture.db);
    const second = await claimed(id);
    const ok = answered(200);
    await record({ dispatch: second, result: ok, decision: { kind: 'delivered' } });
    const late = answered(500);
    const lost = await record({ dispatch, result: late, decision: decide(dispatch, late, 0.5) });
    expect(lost).toMatchObject({ decided: false, delivery: { status: 'DELIVERED', failureReason: null } });
    const row = await readDelivery(fixture, id);
    expect(row).toMatchObject({ status: 'DELIVERED', failureReason: null });
    expect(await fixture.db.prisma.attempt.count({ where: { deliveryId: row.id } })).toBe(2);
  });

  test('a paused webhook holds its deliveries, and resuming makes them due', async () => {
    const id = await emit();
    await pauseWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect((await claim(id)).kind).toBe('dropped');
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'PENDING', held: true, dueAt: null });
    const resumed = await resumeWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect(resumed?.released).toEqual([id]);
    expect((await claim(id)).kind).toBe('claimed');
  });

  test('a webhook that was disabled or deleted meanwhile ends its deliveries without an attempt', async () => {
    const skipped = await emit();
    const tried = await emit();
    await attempt(tried, 500);
    await disableWebhook(fixture.db, { maxAttempts: 3 }, { projectId: fixture.projectId, webhookId }, 'GONE');
    const claims = await Promise.all([claim(skipped), claim(tried)]);
    expect(claims.map((result) => result.kind === 'settled' && result.delivery.status)).toEqual(['SKIPPED', 'FAILED']);
    await resumeWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    const cancelled = await emit();
    await deleteWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect(await claim(cancelled)).toMatchObject({ kind: 'settled', delivery: { status: 'CANCELLED' } });
    expect(await ledger(fixture.db, fixture.projectId)).toMatchObject({
      accepted: 3,
      counts: { SKIPPED: 1, FAILED: 1, CANCELLED: 1 },
    });
  });

  test('sweep finds a delivery that nobody took, and a claim whose worker died, but not one that is under way', async () => {
    const forgotten = await emit();
    const dead = await emit();
    const working = await emit();
    await claimed(dead);
    await claimed(working);
    await fixture.db.pipeline.query(
      `update deliveries set claimed_at = claimed_at - interval '2 minutes' where id = $1`,
      [uuidOf(dead)],
    );
    const settings = { graceMs: 0, claimLeaseMs: 60_000 };
    expect(await indexOpenDeliveries(fixture.db, settings, never)).toBe(3);
    expect(idsOf(await listDue(fixture.db, 0, 100)).toSorted()).toEqual([forgotten, dead].toSorted());
    expect((await claim(dead)).kind).toBe('claimed');
    expect((await claim(working)).kind).toBe('dropped');
    expect(idsOf(await listDue(fixture.db, 0, 100))).toEqual([forgotten]);
  });

  test('sweep leaves young deliveries to their own jobs', async () => {
    await emit();
    await indexOpenDeliveries(fixture.db, { graceMs: 60_000, claimLeaseMs: 60_000 }, never);
    expect(idsOf(await listDue(fixture.db, 60_000, 100))).toEqual([]);
  });

  test('a database clock that steps back leaves no delivery behind the sweep mark', async () => {
    await fixture.db.pipeline.query(`update sweep_marks set mark = posthorn_uuid_at(now() + interval '1 hour')`);
    const settings = { graceMs: 0, claimLeaseMs: 60_000 };
    await indexOpenDeliveries(fixture.db, settings, never);
    const id = await emit();
    // Ids and due times are whole milliseconds: what was made in this one is found in the next.
    await vi.waitFor(async () => {
      await indexOpenDeliveries(fixture.db, settings, never);
      expect(idsOf(await listDue(fixture.db, 0, 100))).toEqual([id]);
    });
  });
});
