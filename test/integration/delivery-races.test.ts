import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { decide } from '../../src/domain/delivery.ts';
import { uuidOf } from '../../src/domain/ids.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { releaseHeldDeliveries } from '../../src/store/held-deliveries.ts';
import { ledger } from '../../src/store/ledger.ts';
import { createRecorder } from '../../src/store/record-attempts.ts';
import { indexOpenDeliveries, listDue, releaseAllClaims } from '../../src/store/sweep.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { answered } from '../support/send-result.ts';
import {
  createTestClaimer,
  addDeliveries,
  addDelivery,
  addWebhook,
  idsOf,
  openStoreFixture,
  readDelivery,
} from '../support/store-fixture.ts';
import type { QueryConfig } from 'pg';
import type { Dispatch } from '../../src/domain/delivery.ts';
import type { DeliveryId, WebhookId } from '../../src/domain/ids.ts';
import type { ClaimDelivery } from '../../src/store/claim-deliveries.ts';
import type { EmitResult } from '../../src/store/emit-event.ts';
import type { RecordAttempt } from '../../src/store/record-attempts.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

const never = new AbortController().signal;
const claimLeaseMs = 60_000;
const sweepSettings = { graceMs: 0, claimLeaseMs };

let fixture: StoreFixture;
let webhookId: WebhookId;
let claim: ClaimDelivery;
let record: RecordAttempt;

beforeAll(async () => {
  fixture = await openStoreFixture();
  claim = createTestClaimer(fixture, { retryScheduleSeconds: [3600], claimLeaseMs });
  record = createRecorder(fixture.db, { maxAttempts: 3 });
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  await fixture.db.pipeline.query('truncate deliveries, attempts, events');
  await fixture.db.pipeline.query('update webhooks set deleted_at = now()');
  webhookId = await addWebhook(fixture);
});

async function claimed(id: DeliveryId): Promise<Dispatch> {
  const result = await claim(id);
  if (result.kind !== 'claimed') throw new Error(result.kind);
  return result.dispatch;
}

async function attempt(dispatch: Dispatch, status: number): Promise<void> {
  const result = answered(status);
  await record({ dispatch, result, decision: decide(dispatch, result, 0.5) });
}

/** The answers to the delivery's attempts, as recorded. */
async function outcomesOf(id: DeliveryId) {
  const attempts = await fixture.db.prisma.attempt.findMany({ where: { deliveryId: uuidOf(id) } });
  return attempts.map((each) => each.responseStatus);
}

/** A delivery whose worker died long ago, as sweep has indexed it. */
async function abandonedDelivery(attemptCount: number): Promise<DeliveryId> {
  const longAgo = new Date(Date.now() - 2 * claimLeaseMs);
  return await addDelivery(fixture, webhookId, {
    status: 'DELIVERING',
    attemptCount,
    claimedAt: longAgo,
    dueAt: longAgo,
  });
}

describe('a claim whose worker died', () => {
  test('ends when its webhook was deleted meanwhile, and sweep is done with it', async () => {
    const id = await abandonedDelivery(0);
    await deleteWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect(await claim(id)).toMatchObject({ kind: 'settled', delivery: { status: 'CANCELLED' } });
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'CANCELLED', dueAt: null, claimedAt: null });
    expect(idsOf(await listDue(fixture.db, 0, 10))).toEqual([]);
  });

  test('ends when its webhook was disabled meanwhile', async () => {
    const [untried, tried] = [await abandonedDelivery(0), await abandonedDelivery(2)];
    await disableWebhook(fixture.db, { maxAttempts: 3 }, { projectId: fixture.projectId, webhookId }, 'GONE');
    const claims = [await claim(untried), await claim(tried)];
    expect(claims.map((each) => each.kind === 'settled' && each.delivery.status)).toEqual(['SKIPPED', 'FAILED']);
    expect(idsOf(await listDue(fixture.db, 0, 10))).toEqual([]);
  });

  test('is held when its webhook was paused meanwhile, and goes out when that resumes', async () => {
    const id = await abandonedDelivery(2);
    await pauseWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect((await claim(id)).kind).toBe('dropped');
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'RETRYING', held: true, dueAt: null });
    await resumeWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect(await claimed(id)).toMatchObject({ attemptNumber: 3 });
  });

  test('a claim that is under way stays when its webhook is deleted', async () => {
    const id = await addDelivery(fixture, webhookId);
    const dispatch = await claimed(id);
    await deleteWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect((await claim(id)).kind).toBe('dropped');
    await attempt(dispatch, 200);
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'DELIVERED' });
  });
});

describe('a held delivery that is claimed after its webhook resumed and before it is released', () => {
  let dispatch: Dispatch;

  beforeEach(async () => {
    const id = await addDelivery(fixture, webhookId, { held: true });
    dispatch = await claimed(id);
  });

  test('keeps its retry schedule', async () => {
    await attempt(dispatch, 500);
    await releaseHeldDeliveries(fixture.db);
    const { dueAt } = await readDelivery(fixture, dispatch.deliveryId);
    expect(dueAt?.getTime()).toBeGreaterThan(Date.now() + 1_000_000);
  });

  test('leaves nothing in the due index once it is delivered', async () => {
    await attempt(dispatch, 200);
    await releaseHeldDeliveries(fixture.db);
    expect(await readDelivery(fixture, dispatch.deliveryId)).toMatchObject({ held: false, dueAt: null });
  });

  test('is found when its worker dies, though the sweep mark is past it', async () => {
    await indexOpenDeliveries(fixture.db, sweepSettings, never);
    const { dueAt, claimedAt } = await readDelivery(fixture, dispatch.deliveryId);
    expect(dueAt?.getTime()).toBe((claimedAt?.getTime() ?? 0) + claimLeaseMs);
  });
});

test('a delivery made after the clock stepped back is swept, though sweep came later than its grace', async () => {
  await fixture.db.pipeline.query(`update sweep_marks set mark = posthorn_uuid_at(now() + interval '1 hour')`);
  const id = await addDelivery(fixture, webhookId);
  await fixture.db.pipeline.query('select pg_sleep(0.005)');
  await indexOpenDeliveries(fixture.db, sweepSettings, never);
  // A due time is a whole millisecond, perhaps the next one.
  await vi.waitFor(async () => expect(idsOf(await listDue(fixture.db, 0, 10))).toEqual([id]));
});

test('a webhook whose secret cannot be decrypted spoils no other claim of the batch', async () => {
  const spoilt = await addWebhook(fixture);
  await fixture.db.pipeline.query(`update webhook_secrets set ciphertext = 'lost' where webhook_id = $1`, [
    uuidOf(spoilt),
  ]);
  const ids = [...(await addDeliveries(fixture, webhookId, 2)), await addDelivery(fixture, spoilt)];
  const claims = await Promise.allSettled(ids.map(async (id) => await claim(id)));
  expect(claims.map((each) => each.status)).toEqual(['fulfilled', 'fulfilled', 'rejected']);
  expect((await ledger(fixture.db, fixture.projectId)).counts.DELIVERING).toBe(3);
});

describe('a record that fails after the request was made', () => {
  test('is repeated when Postgres could not do it, and the attempt counts once', async () => {
    await fixture.db.pipeline.query(`
      create sequence attempt_inserts;
      create function fail_once() returns trigger language plpgsql as $$ begin
        if nextval('attempt_inserts') = 1 then raise exception 'as in a deadlock' using errcode = '40P01'; end if;
        return new;
      end $$;
      create trigger fail_once before insert on attempts for each row execute function fail_once()`);
    const id = await addDelivery(fixture, webhookId);
    await attempt(await claimed(id), 200);
    await fixture.db.pipeline.query('drop trigger fail_once on attempts');
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'DELIVERED', attemptCount: 1 });
    expect(await outcomesOf(id)).toEqual([200]);
  });

  test('is repeated when only the answer was lost, and the attempt counts once', async () => {
    let isFirst = true;
    const query = async (config: QueryConfig): Promise<unknown> => {
      const result: unknown = await fixture.db.pipeline.query(config);
      if (!isFirst) return result;
      isFirst = false;
      throw new Error('Connection terminated unexpectedly');
    };
    const pipeline: typeof fixture.db.pipeline = Object.create(fixture.db.pipeline, { query: { value: query } });
    const recordOverBadLine = createRecorder({ ...fixture.db, pipeline }, { maxAttempts: 3 });
    const id = await addDelivery(fixture, webhookId);
    const dispatch = await claimed(id);
    const result = answered(500);
    const recorded = await recordOverBadLine({ dispatch, result, decision: { kind: 'retry', delayMs: 1000 } });
    expect(recorded).toMatchObject({ decided: true, delivery: { status: 'RETRYING', attemptCount: 1 } });
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'RETRYING', attemptCount: 1 });
    expect(await outcomesOf(id)).toEqual([500]);
  });

  test('rejects alone when what one attempt contains is refused', async () => {
    const ids = await addDeliveries(fixture, webhookId, 3);
    const dispatches = await Promise.all(ids.map(async (id) => await claimed(id)));
    const ends = await Promise.allSettled(
      dispatches.map(async (dispatch, index) => {
        const result = answered(200, index === 1 ? { errorMessage: 'a\0b' } : {});
        await record({ dispatch, result, decision: { kind: 'delivered' } });
      }),
    );
    expect(ends.map((end) => end.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
    expect((await ledger(fixture.db, fixture.projectId)).counts).toMatchObject({ DELIVERED: 2, DELIVERING: 1 });
  });
});

test('two attempts of one delivery in one batch: only the one that holds the claim has decided', async () => {
  const id = await addDelivery(fixture, webhookId);
  const lost = await claimed(id);
  await releaseAllClaims(fixture.db);
  await vi.waitFor(() => expect(Date.now()).toBeGreaterThan(lost.claimedAt.getTime() + 1));
  const held = await claimed(id);
  const result = answered(200);
  const decision = { kind: 'delivered' } as const;
  const recorded = await Promise.all([lost, held].map((dispatch) => record({ dispatch, result, decision })));
  expect(recorded.map((each) => each.decided)).toEqual([false, true]);
});

test('an attempt’s id is of its claim’s moment by the database, whatever the worker’s clock says', async () => {
  const id = await addDelivery(fixture, webhookId);
  const dispatch = await claimed(id);
  const result = { ...answered(200), startedAt: new Date(0) };
  const { attemptId } = await record({ dispatch, result, decision: { kind: 'delivered' } });
  const madeAtMs = Number.parseInt(uuidOf(attemptId).replaceAll('-', '').slice(0, 12), 16);
  expect(Math.abs(madeAtMs - dispatch.claimedAt.getTime())).toBeLessThan(1_000);
});

test('an emit whose earlier event cannot be read fails alone: the others of its batch are stored, and say so', async () => {
  const emitEvent = createEmitter(fixture.db, { maxAttempts: 3 });
  const emit = async (idempotencyKey: string | null): Promise<EmitResult> =>
    await emitEvent({
      projectId: fixture.projectId,
      type: 'config.deployed',
      data: {},
      idempotencyKey,
      occurredAt: new Date(),
      deliverAt: null,
      testWebhookId: null,
    });
  await emit('one');
  await fixture.db.pipeline.query(`update events set body = '1'`);
  const ends = await Promise.allSettled([emit(null), emit('one'), emit(null)]);
  expect(ends.map((end) => end.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
});
