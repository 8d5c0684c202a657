import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type DeliveryStatus, deliveryStatuses } from '../../src/domain/delivery.ts';
import { type DeliveryId, type RecoveryId, uuidOf } from '../../src/domain/ids.ts';
import { openDatabase } from '../../src/store/database.ts';
import { newId } from '../../src/store/new-id.ts';
import { cancelRecovery } from '../../src/store/recoveries.ts';
import { listRunningRecoveries, type RecoveryStep, stepRecovery } from '../../src/store/recovery-step.ts';
import { resendDelivery } from '../../src/store/resend-delivery.ts';
import { listDue } from '../../src/store/sweep.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { askRecovery, passTime, readRecovery, someActor, startRecovery } from '../support/recovery.ts';
import {
  addDeliveries,
  addDelivery,
  addWebhook,
  idsOf,
  openStoreFixture,
  readDelivery,
  type StoreFixture,
} from '../support/store-fixture.ts';
import { inNewProject } from '../support/worker-fixture.ts';
import { testActor } from '../support/test-actor.ts';

const settings = { maxAttempts: 6 };
const failed = { status: 'FAILED', attemptCount: 6, failureReason: 'EXHAUSTED', finishedAt: new Date() } as const;

let shared: StoreFixture;
let fixture: StoreFixture;
beforeAll(async () => {
  shared = await openStoreFixture();
  return async () => await shared[Symbol.asyncDispose]();
});
beforeEach(async () => {
  fixture = await inNewProject(shared);
});

/** Makes steps until the recovery is over, with time enough before each, and gives what they sent again. */
async function carryOut(id: RecoveryId): Promise<DeliveryId[]> {
  const resent: DeliveryId[] = [];
  for (let step = 0; step < 100; step += 1) {
    await passTime(fixture, id, 2_000);
    const made = await stepRecovery(fixture.db, settings, id);
    if (made.kind === 'none') return resent;
    resent.push(...idsOf(made.resent));
  }
  throw new Error('the recovery does not end');
}

async function stepAt(id: RecoveryId): Promise<Extract<RecoveryStep, { kind: 'stepped' }>> {
  const step = await stepRecovery(fixture.db, settings, id);
  if (step.kind !== 'stepped') throw new Error('no step was made');
  return step;
}

describe('what a recovery takes', () => {
  test('deliveries that failed or were skipped are due again, with a round of their own, and others stay as they are', async () => {
    const webhookId = await addWebhook(fixture, { maxAttempts: 3 });
    const added: { status: DeliveryStatus; id: DeliveryId }[] = [];
    for (const status of deliveryStatuses) {
      added.push({ status, id: await addDelivery(fixture, webhookId, { ...failed, status, attemptCount: 2 }) });
    }
    const taken = added.filter(({ status }) => status === 'FAILED' || status === 'SKIPPED');
    const recoveryId = await startRecovery(fixture);
    expect(await carryOut(recoveryId)).toEqual(taken.map(({ id }) => id));
    for (const { status, id } of added) {
      const resent = { status: 'PENDING', trigger: 'MANUAL', roundStart: 2, maxAttempts: 5, held: false };
      const cleared = { failureReason: null, finishedAt: null, dueAt: expect.any(Date) };
      const isTaken = status === 'FAILED' || status === 'SKIPPED';
      expect(await readDelivery(fixture, id)).toMatchObject(isTaken ? { ...resent, ...cleared } : { status });
    }
    expect(await readRecovery(fixture, recoveryId)).toMatchObject({
      status: 'COMPLETED',
      matchedCount: 2,
      recoveredCount: 2,
      passedOverCount: 0,
      finishedAt: expect.any(Date),
    });
  });

  test('the filter narrows by webhook, status, event type, reason and time, all at once', async () => {
    const [mine, other] = [await addWebhook(fixture), await addWebhook(fixture)];
    const wanted = await addDelivery(fixture, mine, failed);
    await addDelivery(fixture, other, failed);
    await addDelivery(fixture, mine, { ...failed, status: 'CANCELLED' });
    await addDelivery(fixture, mine, { ...failed, failureReason: 'GONE' });
    const ofAnotherType = await addDelivery(fixture, mine, failed);
    await setEventType(ofAnotherType, 'configuration.deployed');
    const early = await addDelivery(fixture, mine, failed);
    await setCreatedAt(early, new Date(Date.now() - 3_600_000));
    const recoveryId = await startRecovery(fixture, {
      webhookIds: [mine],
      statuses: ['FAILED'],
      eventTypes: ['config.*', 'other'],
      failureReasons: ['EXHAUSTED'],
    });
    expect(await carryOut(recoveryId)).toEqual([wanted]);
    expect(await readRecovery(fixture, recoveryId)).toMatchObject({ matchedCount: 1, recoveredCount: 1 });
  });

  test.each([
    [['*'], 2],
    [['config.deployed'], 1],
    [['config.*'], 1],
    [['configuration.*', 'config.deployed'], 2],
    [['config'], 0],
    [[], 0],
  ])('the event types %j take %i of two', async (eventTypes, count) => {
    const webhookId = await addWebhook(fixture);
    await addDelivery(fixture, webhookId, failed);
    await setEventType(await addDelivery(fixture, webhookId, failed), 'configuration.deployed');
    const recoveryId = await startRecovery(fixture, { eventTypes });
    expect((await readRecovery(fixture, recoveryId)).matchedCount).toBe(count);
    expect(await carryOut(recoveryId)).toHaveLength(count);
  });

  test('a webhook that is named twice is counted and taken once', async () => {
    const webhookId = await addWebhook(fixture);
    const ids = await addDeliveries(fixture, webhookId, 3, failed);
    const recoveryId = await startRecovery(fixture, { webhookIds: [webhookId, webhookId] });
    expect(await carryOut(recoveryId)).toEqual(ids);
    expect(await readRecovery(fixture, recoveryId)).toMatchObject({ matchedCount: 3, recoveredCount: 3 });
  });

  test('deliveries of several webhooks are taken oldest first, however many steps it needs', async () => {
    const webhookIds = [await addWebhook(fixture), await addWebhook(fixture)];
    const ids: DeliveryId[] = [];
    for (const count of [800, 1_500, 700]) {
      ids.push(
        ...(await addDeliveries(fixture, webhookIds[ids.length === 800 ? 1 : 0] ?? newId('webhook'), count, failed)),
      );
    }
    await addDeliveries(fixture, webhookIds[0] ?? newId('webhook'), 2_500, { ...failed, status: 'DELIVERED' });
    ids.push(...(await addDeliveries(fixture, webhookIds[1] ?? newId('webhook'), 5, failed)));
    for (const filter of [{ webhookIds }, {}]) {
      await fixture.db.prisma.delivery.updateMany({
        where: { status: 'PENDING', projectId: uuidOf(fixture.projectId) },
        data: { ...failed, finishedAt: new Date(), dueAt: null },
      });
      expect(await carryOut(await startRecovery(fixture, filter))).toEqual(ids);
    }
  });

  test("another project's deliveries are neither counted nor taken, even when their webhook is named", async () => {
    const stranger = await inNewProject(shared);
    const theirs = await addWebhook(stranger);
    const id = await addDelivery(stranger, theirs, failed);
    for (const filter of [{}, { webhookIds: [theirs] }]) {
      const recoveryId = await startRecovery(fixture, filter);
      expect(await carryOut(recoveryId)).toEqual([]);
      expect((await readRecovery(fixture, recoveryId)).matchedCount).toBe(0);
    }
    expect((await readDelivery(stranger, id)).status).toBe('FAILED');
  });

  test('what ends after it was asked for is not taken, so that no recovery sends anything twice', async () => {
    const webhookId = await addWebhook(fixture);
    const ids = await addDeliveries(fixture, webhookId, 2, failed);
    const recoveryId = await startRecovery(fixture);
    const late = await addDelivery(fixture, webhookId, { ...failed, finishedAt: new Date(Date.now() + 60_000) });
    expect(await carryOut(recoveryId)).toEqual(ids);
    expect((await readDelivery(fixture, late)).status).toBe('FAILED');
  });

  test('a dry run counts, says what would be passed over, is completed, and sends nothing', async () => {
    const [open, disabled] = [await addWebhook(fixture), await addWebhook(fixture)];
    const ids = [
      ...(await addDeliveries(fixture, open, 3, failed)),
      ...(await addDeliveries(fixture, disabled, 2, failed)),
    ];
    await disable(disabled);
    const recoveryId = await startRecovery(fixture, {}, { dryRun: true });
    const counted = { status: 'COMPLETED', matchedCount: 5, recoveredCount: 0, passedOverCount: 2 };
    expect(await readRecovery(fixture, recoveryId)).toMatchObject(counted);
    expect(await carryOut(recoveryId)).toEqual([]);
    for (const id of ids) expect((await readDelivery(fixture, id)).status).toBe('FAILED');
  });
});

describe('webhooks that do not take deliveries', () => {
  test('what goes to a disabled or deleted one is passed over and counted as such', async () => {
    const webhookIds = [await addWebhook(fixture), await addWebhook(fixture), await addWebhook(fixture)] as const;
    const [open] = webhookIds;
    const ids = await addDeliveries(fixture, open, 2, failed);
    for (const webhookId of webhookIds.slice(1)) await addDeliveries(fixture, webhookId, 3, failed);
    await disable(webhookIds[1]);
    await deleteWebhook(fixture.db, fixture.projectId, webhookIds[2], testActor);
    const recoveryId = await startRecovery(fixture);
    expect(await carryOut(recoveryId)).toEqual(ids);
    expect(await readRecovery(fixture, recoveryId)).toMatchObject({
      matchedCount: 8,
      recoveredCount: 2,
      passedOverCount: 6,
    });
  });

  test('what goes to a paused one is held until it is resumed', async () => {
    const webhookId = await addWebhook(fixture);
    const ids = await addDeliveries(fixture, webhookId, 3, failed);
    await pauseWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    const recoveryId = await startRecovery(fixture);
    const { resent } = await passAndStep(recoveryId);
    expect(resent.map(({ id, dueAt }) => ({ id, dueAt }))).toEqual(ids.map((id) => ({ id, dueAt: null })));
    expect(await listDueOfFixture(ids)).toEqual([]);
    const resumed = await resumeWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    expect(resumed?.released).toEqual(ids);
  });

  test('steps and the deletion of their webhook at once leave no delivery waiting', async () => {
    for (let round = 0; round < 10; round += 1) {
      const webhookId = await addWebhook(fixture);
      const ids = await addDeliveries(fixture, webhookId, 20, failed);
      const recoveryId = await startRecovery(fixture, { webhookIds: [webhookId] });
      await passTime(fixture, recoveryId, 2_000);
      const [step] = await Promise.all([
        stepAt(recoveryId),
        deleteWebhook(fixture.db, fixture.projectId, webhookId, testActor),
      ]);
      const expected = step.resent.length > 0 ? 'CANCELLED' : 'FAILED';
      for (const id of ids) expect((await readDelivery(fixture, id)).status).toBe(expected);
    }
  });
});

describe('how a recovery goes on', () => {
  test('two workers at once take each delivery once, and no more than one of them makes a step', async () => {
    const webhookId = await addWebhook(fixture);
    const ids = await addDeliveries(fixture, webhookId, 1_200, failed);
    const recoveryId = await startRecovery(fixture);
    const resent: DeliveryId[] = [];
    for (let round = 0; round < 20; round += 1) {
      await passTime(fixture, recoveryId, 2_000);
      const steps = await Promise.all([1, 2].map(async () => await stepRecovery(fixture.db, settings, recoveryId)));
      for (const step of steps) if (step.kind === 'stepped') resent.push(...idsOf(step.resent));
    }
    expect(resent.toSorted()).toEqual(ids);
    const { recoveredCount, status } = await readRecovery(fixture, recoveryId);
    expect([recoveredCount, status]).toEqual([1_200, 'COMPLETED']);
  });

  test('a step that another worker is making is skipped, not waited for', async () => {
    await addDeliveries(fixture, await addWebhook(fixture), 5, failed);
    const recoveryId = await startRecovery(fixture);
    await passTime(fixture, recoveryId, 2_000);
    const other = await fixture.db.pipeline.connect();
    try {
      await other.query('begin');
      await other.query('select from recoveries where id = $1 for update', [uuidOf(recoveryId)]);
      expect(await stepRecovery(fixture.db, settings, recoveryId)).toEqual({ kind: 'none' });
      await other.query('rollback');
    } finally {
      other.release();
    }
    expect((await stepAt(recoveryId)).resent).toHaveLength(5);
  });

  test('a step whose process dies before it commits has not happened', async () => {
    const ids = await addDeliveries(fixture, await addWebhook(fixture), 5, failed);
    const recoveryId = await startRecovery(fixture);
    await passTime(fixture, recoveryId, 2_000);
    const dying = openDatabase(fixture.db.pipeline.options.connectionString ?? '');
    const blocker = await fixture.db.pipeline.connect();
    try {
      await blocker.query('begin');
      await blocker.query('select from deliveries where id = $1 for update', [uuidOf(ids[4] ?? newId('delivery'))]);
      const step = stepRecovery(dying, settings, recoveryId);
      await Promise.all([expect(step).rejects.toThrow('terminating connection'), endBlockedSession()]);
      await blocker.query('rollback');
    } finally {
      blocker.release();
      await dying[Symbol.asyncDispose]();
    }
    expect(await readRecovery(fixture, recoveryId)).toMatchObject({ recoveredCount: 0, position: null });
    expect(await carryOut(recoveryId)).toEqual(ids);
    expect((await readRecovery(fixture, recoveryId)).recoveredCount).toBe(5);
  });

  test('what it sent again is due, so that sweep finds it when no worker was told', async () => {
    const ids = await addDeliveries(fixture, await addWebhook(fixture), 5, failed);
    await carryOut(await startRecovery(fixture));
    expect((await listDueOfFixture(ids)).toSorted()).toEqual(ids);
  });

  test('what somebody resent or that was removed meanwhile is passed over', async () => {
    const { db, projectId } = fixture;
    const ids = await addDeliveries(fixture, await addWebhook(fixture), 4, failed);
    const recoveryId = await startRecovery(fixture);
    const [resent = newId('delivery'), removed = newId('delivery'), ...others] = ids;
    await resendDelivery(db, projectId, resent, { actor: testActor, defaultMaxAttempts: 6, claimLeaseMs: 30_000 });
    await db.pipeline.query('delete from deliveries where id = $1', [uuidOf(removed)]);
    expect(await carryOut(recoveryId)).toEqual(others);
    expect(await readRecovery(fixture, recoveryId)).toMatchObject({
      matchedCount: 4,
      recoveredCount: 2,
      passedOverCount: 2,
    });
  });

  test('cancelled, it makes no further step and keeps what it sent again', async () => {
    const { db, projectId } = fixture;
    const ids = await addDeliveries(fixture, await addWebhook(fixture), 10, failed);
    const recoveryId = await startRecovery(fixture, {}, { ratePerSecond: 2 });
    const { resent } = await passAndStep(recoveryId);
    const cancelled = await cancelRecovery(db, projectId, someActor(), recoveryId);
    expect(cancelled).toMatchObject({
      kind: 'cancelled',
      recovery: { status: 'CANCELLED', recoveredCount: resent.length },
    });
    await passTime(fixture, recoveryId, 2_000);
    expect(await stepRecovery(db, settings, recoveryId)).toEqual({ kind: 'none' });
    const pending = await db.prisma.delivery.count({ where: { id: { in: ids.map(uuidOf) }, status: 'PENDING' } });
    expect(pending).toBe(resent.length);
    expect(await cancelRecovery(db, projectId, someActor(), recoveryId)).toMatchObject({ kind: 'ended' });
    expect((await listRunningRecoveries(db, 1_000)).includes(recoveryId)).toBe(false);
  });

  test('a stranger and an unknown id cancel nothing', async () => {
    const recoveryId = await startRecovery(fixture);
    const { db, strangerId, projectId } = fixture;
    expect(await cancelRecovery(db, strangerId, someActor(), recoveryId)).toEqual({ kind: 'not-found' });
    expect(await cancelRecovery(db, projectId, someActor(), newId('recovery'))).toEqual({ kind: 'not-found' });
    expect((await readRecovery(fixture, recoveryId)).status).toBe('RUNNING');
  });

  test('five run at once per project, however many ask together; a dry run always may', async () => {
    const asked = await Promise.all(Array.from({ length: 8 }, async () => await askRecovery(fixture)));
    expect(asked.map(({ kind }) => kind).toSorted()).toEqual([
      ...Array.from({ length: 5 }, () => 'created'),
      ...Array.from({ length: 3 }, () => 'too-many'),
    ]);
    expect((await askRecovery(fixture, {}, { dryRun: true })).kind).toBe('created');
    expect((await askRecovery(await inNewProject(shared))).kind).toBe('created');
  });

  test('a count that takes too long is refused, and nothing is stored', async () => {
    const impatient = openDatabase(fixture.db.pipeline.options.connectionString ?? '', { statementTimeoutMs: 100 });
    const lock = await fixture.db.pipeline.connect();
    try {
      await lock.query('begin');
      await lock.query('lock table deliveries in access exclusive mode');
      expect(await askRecovery({ ...fixture, db: impatient })).toEqual({ kind: 'too-long' });
      await lock.query('rollback');
    } finally {
      lock.release();
      await impatient[Symbol.asyncDispose]();
    }
    expect(await fixture.db.prisma.recovery.count({ where: { projectId: uuidOf(fixture.projectId) } })).toBe(0);
  });
});

describe('the rate', () => {
  test('a recovery that was just asked for waits until its rate lets the first go', async () => {
    await addDeliveries(fixture, await addWebhook(fixture), 5, failed);
    const recoveryId = await startRecovery(fixture, {}, { ratePerSecond: 1 });
    await passTime(fixture, recoveryId, -10_000); // asked for in the future: no time at all has passed
    expect(await stepRecovery(fixture.db, settings, recoveryId)).toEqual({ kind: 'none' });
  });

  test('each step uses up the time of what it sent, to the millisecond, so that no fraction is lost', async () => {
    await addDeliveries(fixture, await addWebhook(fixture), 100, failed);
    const recoveryId = await startRecovery(fixture, {}, { ratePerSecond: 10 });
    await passTime(fixture, recoveryId, 550);
    const before = (await readRecovery(fixture, recoveryId)).progressedAt.getTime();
    const { resent } = await stepAt(recoveryId);
    expect(resent.length).toBeGreaterThanOrEqual(5);
    const { progressedAt } = await readRecovery(fixture, recoveryId);
    expect(progressedAt.getTime() - before).toBe(resent.length * 100);
  });

  test('after a long stop it makes up for two seconds, not for all of it', async () => {
    await addDeliveries(fixture, await addWebhook(fixture), 100, failed);
    const recoveryId = await startRecovery(fixture, {}, { ratePerSecond: 10 });
    await passTime(fixture, recoveryId, 3_600_000);
    expect((await stepAt(recoveryId)).resent).toHaveLength(20);
  });

  test('however many workers step as fast as they can, no more goes out than the rate allows', async () => {
    const ids = await addDeliveries(fixture, await addWebhook(fixture), 400, failed);
    const ratePerSecond = 50;
    const startedAtMs = performance.now();
    const recoveryId = await startRecovery(fixture, {}, { ratePerSecond });
    let stepsLeft = 300;
    const work = async (): Promise<void> => {
      while (stepsLeft > 0) {
        stepsLeft -= 1;
        await stepRecovery(fixture.db, settings, recoveryId);
      }
    };
    await Promise.all([work(), work(), work()]);
    const passedSeconds = (performance.now() - startedAtMs) / 1_000;
    const { recoveredCount } = await readRecovery(fixture, recoveryId);
    expect(recoveredCount).toBeLessThanOrEqual(Math.min(ids.length, ratePerSecond * passedSeconds));
    expect(recoveredCount).toBeGreaterThan(0);
  });
});

async function passAndStep(id: RecoveryId): Promise<Extract<RecoveryStep, { kind: 'stepped' }>> {
  await passTime(fixture, id, 2_000);
  return await stepAt(id);
}

async function disable(webhookId: Parameters<typeof deleteWebhook>[2]): Promise<void> {
  await disableWebhook(fixture.db, settings, { projectId: fixture.projectId, webhookId }, 'GONE');
}

/** Those of the deliveries that sweep would enqueue. */
async function listDueOfFixture(ids: readonly DeliveryId[]): Promise<DeliveryId[]> {
  return idsOf(await listDue(fixture.db, -1_000, 10_000)).filter((id) => ids.includes(id));
}

async function setEventType(id: DeliveryId, type: string): Promise<void> {
  const text = 'update events set type = $2 where id = (select event_id from deliveries where id = $1)';
  await fixture.db.pipeline.query(text, [uuidOf(id), type]);
}

async function setCreatedAt(id: DeliveryId, createdAt: Date): Promise<void> {
  await fixture.db.pipeline.query('update deliveries set created_at = $2 where id = $1', [uuidOf(id), createdAt]);
}

/** Ends the session that waits for another one's lock, as the death of its process would. */
async function endBlockedSession(): Promise<void> {
  await expect
    .poll(
      async () => {
        const { rowCount } = await fixture.db.pipeline.query(
          `select pg_terminate_backend(pid) from pg_stat_activity
           where datname = current_database() and wait_event_type = 'Lock'`,
        );
        return rowCount;
      },
      { timeout: 4_000, interval: 10 },
    )
    .toBeGreaterThan(0);
}
