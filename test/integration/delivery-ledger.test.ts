import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decide, statusAfter } from '../../src/domain/delivery.ts';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { cancelDelivery } from '../../src/store/cancel-delivery.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { releaseHeldDeliveries } from '../../src/store/held-deliveries.ts';
import { ledger } from '../../src/store/ledger.ts';
import { createRecorder } from '../../src/store/record-attempts.ts';
import { stepRecovery } from '../../src/store/recovery-step.ts';
import { replayEvent } from '../../src/store/replay-event.ts';
import { resendDelivery } from '../../src/store/resend-delivery.ts';
import { indexOpenDeliveries, listDue, releaseAllClaims } from '../../src/store/sweep.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { askRecovery, passTime, someActor } from '../support/recovery.ts';
import { answered } from '../support/send-result.ts';
import { createTestClaimer, addWebhook, openStoreFixture, readDelivery } from '../support/store-fixture.ts';
import type { DeliveryStatus, Dispatch } from '../../src/domain/delivery.ts';
import type { DeliveryId, RecoveryId, WebhookId } from '../../src/domain/ids.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

const never = new AbortController().signal;
const claimLeaseMs = 60_000;
/** Due times are whole milliseconds, rounded; what is due within a second counts as due. */
const listGraceMs = -1_000;
const roundsMax = 30;

let fixture: StoreFixture;
/** When the time is up, the run under way is left to itself; its database stays until it has ended. */
let lastRun: Promise<void> = Promise.resolve();
beforeAll(async () => {
  fixture = await openStoreFixture();
});
afterAll(async () => {
  await lastRun;
  await fixture?.[Symbol.asyncDispose]();
});

/** Something that happens to the deliveries. `pick` chooses among what there is. */
interface Step {
  kind: keyof Actions;
  pick: number;
}

type Actions = Record<
  | 'emit'
  | 'emitTest'
  | 'emitLater'
  | 'claim'
  | 'succeed'
  | 'fail'
  | 'die'
  | 'resend'
  | 'replay'
  | 'recover'
  | 'recoverOn'
  | 'cancel'
  | 'pause'
  | 'resume'
  | 'resumeHalfway'
  | 'disable'
  | 'delete'
  | 'sweep'
  | 'restart'
  | 'wait',
  (pick: number) => Promise<void>
>;

/** One run: two workers on two webhooks, and what they have in hand. */
class Run {
  readonly deliveryIds: DeliveryId[] = [];
  recordCount = 0;
  readonly #webhookIds: readonly WebhookId[];
  /** Claimed and not recorded yet, alive or as good as dead. */
  readonly #inHand: Dispatch[] = [];
  /** Deliveries whose claim nobody else may take. */
  readonly #taken = new Set<DeliveryId>();
  /** Whose worker died with an attempt of theirs in hand. */
  readonly #died = new Set<DeliveryId>();
  /** Of which an attempt was recorded after its claim had been lost. */
  readonly #recordedLate = new Set<DeliveryId>();
  /** That somebody asked to cancel; whose claim may then have been lost at any moment. */
  readonly #unsettled = new Set<DeliveryId>();
  readonly #resent = new Set<DeliveryId>();
  readonly #recoveryIds: RecoveryId[] = [];
  /** Of recoveries: how many deliveries their steps said they sent again. */
  readonly recoveredCounts = new Map<RecoveryId, number>();
  /** How those ended that an attempt or a cancellation decided. */
  readonly #ends = new Map<DeliveryId, DeliveryStatus>();
  readonly #emit = createEmitter(fixture.db, { maxAttempts: 3 });
  readonly #workers = [0, 1].map(() => ({
    claim: createTestClaimer(fixture, { retryScheduleSeconds: [0], claimLeaseMs }),
    record: createRecorder(fixture.db, { maxAttempts: 3 }),
  }));

  constructor(webhookIds: readonly WebhookId[]) {
    this.#webhookIds = webhookIds;
  }

  readonly actions: Actions = {
    emit: async () => await this.#store(null, null),
    emitTest: async (pick) => await this.#store(this.#webhook(pick), null),
    emitLater: async () => await this.#store(null, new Date(Date.now() + 60_000)),
    claim: async (pick) => await this.claim(this.#delivery(pick), pick),
    succeed: async (pick) => await this.#record(pick, 200),
    fail: async (pick) => await this.#record(pick, 500),
    die: async (pick) => {
      const [dispatch] = this.#inHand.splice(pick % Math.max(1, this.#inHand.length), 1);
      if (dispatch !== undefined) this.#died.add(dispatch.deliveryId);
    },
    resend: async (pick) => await this.#resend(this.#delivery(pick)),
    replay: async (pick) => await this.#replay(this.#delivery(pick), this.#webhook(pick >> 1)),
    recover: async () => {
      const recovery = await askRecovery(fixture, { statuses: ['FAILED', 'SKIPPED', 'CANCELLED'] });
      if (recovery.kind === 'created') this.#recoveryIds.push(idFromUuid('recovery', recovery.recovery.id));
    },
    recoverOn: async (pick) => await this.#recoverOn(this.#recoveryIds[pick % Math.max(1, this.#recoveryIds.length)]),
    cancel: async (pick) => await this.#cancel(this.#delivery(pick)),
    pause: async (pick) => void (await pauseWebhook(fixture.db, fixture.projectId, this.#webhook(pick), testActor)),
    resume: async (pick) => void (await resumeWebhook(fixture.db, fixture.projectId, this.#webhook(pick), testActor)),
    // As when the process dies before it releases what was held.
    resumeHalfway: async (pick) => {
      const text = `update webhooks set status = 'ACTIVE' where id = $1 and status = 'PAUSED'`;
      await fixture.db.pipeline.query(text, [uuidOf(this.#webhook(pick))]);
    },
    disable: async (pick) =>
      void (await disableWebhook(
        fixture.db,
        { maxAttempts: 3 },
        { projectId: fixture.projectId, webhookId: this.#webhook(pick) },
        'GONE',
      )),
    delete: async (pick) => void (await deleteWebhook(fixture.db, fixture.projectId, this.#webhook(pick), testActor)),
    sweep: async (pick) => {
      for (const id of await this.sweep()) await this.claim(id, pick);
    },
    restart: async () => {
      this.#taken.clear();
      await releaseAllClaims(fixture.db);
    },
    wait: async () => {
      this.#taken.clear();
      await fixture.db.pipeline.query(
        `update deliveries set due_at = due_at - interval '2 minutes', claimed_at = claimed_at - interval '2 minutes'
         where due_at is not null or claimed_at is not null`,
      );
    },
  };

  async sweep(): Promise<DeliveryId[]> {
    await indexOpenDeliveries(fixture.db, { graceMs: 0, claimLeaseMs }, never);
    const released = await releaseHeldDeliveries(fixture.db);
    const due = [...released, ...(await listDue(fixture.db, listGraceMs, 1000))];
    return [...new Set(due.map(({ id }) => id))];
  }

  async claim(id: DeliveryId | null, pick: number): Promise<void> {
    if (id === null) return;
    const claim = await this.#workers[pick % 2]?.claim(id);
    if (claim?.kind !== 'claimed') return;
    if (this.#taken.has(id) && !this.#unsettled.has(id)) throw new Error(`${id} was claimed twice`);
    this.#taken.add(id);
    this.#inHand.push(claim.dispatch);
  }

  /** Sweeps and delivers until nothing is open but what is held. */
  async drain(): Promise<void> {
    for (let round = 0; round < roundsMax; round += 1) {
      await this.actions.wait(0);
      for (const id of await this.sweep()) await this.claim(id, round);
      while (this.#inHand.length > 0) await this.#record(0, round % 2 === 0 ? 500 : 200);
      if ((await this.#openCount()) === 0) return;
    }
  }

  /** Whether the delivery may count more attempts than there are: one was under way when it was cancelled. */
  mayCountMore(id: DeliveryId): boolean {
    return this.#unsettled.has(id) && (this.#died.has(id) || this.#recordedLate.has(id));
  }

  /** Whether the delivery may have had more attempts than its rounds allow: late records use up numbers. */
  mayExceed(id: DeliveryId): boolean {
    return this.#recordedLate.has(id);
  }

  /** How deliveries ended that nobody asked to resend: they must stay so. */
  ends(): { id: string; status: DeliveryStatus }[] {
    const final = [...this.#ends].filter(([id]) => !this.#resent.has(id));
    return final.map(([id, status]) => ({ id: uuidOf(id), status }));
  }

  #end(id: DeliveryId, status: DeliveryStatus): void {
    const before = this.#ends.get(id);
    if (before !== undefined && !this.#resent.has(id)) throw new Error(`${id} was ${before} and then ${status}`);
    this.#ends.set(id, status);
  }

  async #resend(id: DeliveryId | null): Promise<void> {
    if (id === null) return;
    this.#resent.add(id);
    const options = { defaultMaxAttempts: 3, claimLeaseMs, actor: testActor };
    const result = await resendDelivery(fixture.db, fixture.projectId, id, options);
    if (result.kind !== 'resent') return;
    const { status, attemptCount, roundStart, maxAttempts } = result.delivery;
    if (status !== 'PENDING' || roundStart !== attemptCount || maxAttempts !== attemptCount + 3) {
      throw new Error(`${id} was resent without a round of its own: ${JSON.stringify(result.delivery)}`);
    }
  }

  async #replay(id: DeliveryId | null, webhookId: WebhookId): Promise<void> {
    if (id === null) return;
    const eventId = idFromUuid('event', (await readDelivery(fixture, id)).eventId);
    const options = { actor: someActor(), defaultMaxAttempts: 3, claimLeaseMs };
    const before = await fixture.db.prisma.delivery.findMany({
      where: { eventId: uuidOf(eventId) },
      select: { id: true },
    });
    for (const delivery of before) this.#resent.add(idFromUuid('delivery', delivery.id));
    const result = await replayEvent(fixture.db, fixture.projectId, { eventId, webhookId }, options);
    if (result.kind === 'created') this.deliveryIds.push(idFromUuid('delivery', result.delivery.id));
  }

  async #recoverOn(id: RecoveryId | undefined): Promise<void> {
    if (id === undefined) return;
    await passTime(fixture, id, 2_000);
    for (const deliveryId of this.deliveryIds) this.#resent.add(deliveryId);
    const step = await stepRecovery(fixture.db, { maxAttempts: 3 }, id);
    if (step.kind === 'none') return;
    this.recoveredCounts.set(id, (this.recoveredCounts.get(id) ?? 0) + step.resent.length);
  }

  async #cancel(id: DeliveryId | null): Promise<void> {
    if (id === null) return;
    this.#unsettled.add(id);
    const result = await cancelDelivery(fixture.db, fixture.projectId, id, testActor);
    if (result.kind === 'cancelled') this.#end(id, 'CANCELLED');
  }

  async #openCount(): Promise<number> {
    const { rows } = await fixture.db.pipeline.query<{ count: number }>(
      `select count(*)::int from deliveries d join webhooks w on w.id = d.webhook_id
       where d.status in ('PENDING', 'DELIVERING', 'RETRYING')
         and not (d.held and w.status = 'PAUSED' and w.deleted_at is null)`,
    );
    return rows[0]?.count ?? 0;
  }

  async #store(testWebhookId: WebhookId | null, deliverAt: Date | null): Promise<void> {
    const result = await this.#emit({
      projectId: fixture.projectId,
      type: 'config.deployed',
      data: {},
      idempotencyKey: null,
      occurredAt: new Date(),
      deliverAt,
      testWebhookId,
    });
    if (result.kind === 'stored') this.deliveryIds.push(...result.deliveries.map((delivery) => delivery.id));
  }

  async #record(pick: number, status: number): Promise<void> {
    const [dispatch] = this.#inHand.splice(pick % Math.max(1, this.#inHand.length), 1);
    if (dispatch === undefined) return;
    const result = answered(status);
    // Before the record: as soon as it commits, another may claim the retry.
    this.#taken.delete(dispatch.deliveryId);
    const decision = decide(dispatch, result, 0.5);
    const recorded = await this.#workers[pick % 2]?.record({ dispatch, result, decision });
    if (recorded?.decided === false) this.#recordedLate.add(dispatch.deliveryId);
    else if (decision.kind !== 'retry') this.#end(dispatch.deliveryId, statusAfter(decision));
    this.recordCount += 1;
  }

  #delivery(pick: number): DeliveryId | null {
    return this.deliveryIds[pick % Math.max(1, this.deliveryIds.length)] ?? null;
  }

  #webhook(pick: number): WebhookId {
    const id = this.#webhookIds[pick % this.#webhookIds.length];
    if (id === undefined) throw new Error('no webhook');
    return id;
  }
}

/** Sweep finds by its index what has a due_at, and by its mark what is younger than that. */
const foundBySweepSql = '(d.due_at is not null or d.id > (select mark from sweep_marks where id = 1))';

/** Rows with no next step, at any time: neither ended, nor held, nor taken, nor where sweep finds them. */
const stuckRowsSql = `
select d.id, d.status, d.held, d.due_at, d.claimed_at, d.finished_at
from deliveries d
where not case
    when d.status in ('DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED')
      then not d.held and d.due_at is null and d.claimed_at is null and d.finished_at is not null
    when d.finished_at is not null or d.held and (d.due_at is not null or d.claimed_at is not null) then false
    when d.status = 'DELIVERING' then not d.held and d.claimed_at is not null and ${foundBySweepSql}
    else d.claimed_at is null and (d.held or ${foundBySweepSql})
  end`;

/** Rows that are not what a delivery may be, once nothing is due any more. */
const wrongRowsSql = `
select d.id, d.status, d.held, d.due_at, d.claimed_at, d.attempt_count, w.status as webhook_status
from deliveries d join webhooks w on w.id = d.webhook_id
where d.status not in ('DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED')
    and not (d.held and d.status in ('PENDING', 'RETRYING') and w.status = 'PAUSED' and w.deleted_at is null)
  or d.status = 'DELIVERED' and not exists (select from attempts a where a.delivery_id = d.id and a.outcome = 'SUCCEEDED')
  or d.status = 'CANCELLED' and coalesce(d.failure_reason, '') not in ('CANCELLED_BY_USER', 'WEBHOOK_DELETED')`;

/** Deliveries whose count is not their attempts', or more than their rounds allow. */
const countsSql = `
select d.id, d.attempt_count as counted, d.max_attempts as allowed, coalesce(max(a.number), 0) as made
from deliveries d left join attempts a on a.delivery_id = d.id
group by d.id having d.attempt_count <> coalesce(max(a.number), 0) or d.attempt_count > d.max_attempts`;

interface CountRow {
  id: string;
  counted: number;
  allowed: number;
  made: number;
}

async function expectNextSteps(): Promise<void> {
  expect((await fixture.db.pipeline.query(stuckRowsSql)).rows).toEqual([]);
}

async function expectLedgerAddsUp(run: Run): Promise<void> {
  await expectNextSteps();
  expect((await fixture.db.pipeline.query(wrongRowsSql)).rows).toEqual([]);
  expect((await ledger(fixture.db, fixture.projectId)).accepted).toBe(run.deliveryIds.length);
  expect(await fixture.db.prisma.attempt.count()).toBe(run.recordCount);
  const { rows } = await fixture.db.pipeline.query<CountRow>(countsSql);
  expect(rows.filter((row) => isMiscounted(run, row))).toEqual([]);
  await expectFinal(run.ends());
  await expectRecoveryCounts(run);
}

/** A recovery's row says what its steps did; nobody's step was lost or counted twice. */
async function expectRecoveryCounts(run: Run): Promise<void> {
  const recoveries = await fixture.db.prisma.recovery.findMany({ select: { id: true, recoveredCount: true } });
  for (const { id, recoveredCount } of recoveries) {
    expect(recoveredCount).toBe(run.recoveredCounts.get(idFromUuid('recovery', id)) ?? 0);
  }
}

function isMiscounted(run: Run, { id, counted, allowed, made }: CountRow): boolean {
  const deliveryId = idFromUuid('delivery', id);
  if (counted < made || (counted > made && !run.mayCountMore(deliveryId))) return true;
  return counted > allowed && !run.mayExceed(deliveryId);
}

async function expectFinal(ends: readonly { id: string; status: DeliveryStatus }[]): Promise<void> {
  const { rows } = await fixture.db.pipeline.query(
    `select d.id, d.status, d.failure_reason, ended.status as before
     from json_to_recordset($1) as ended(id uuid, status delivery_status) join deliveries d using (id)
     where d.status <> ended.status
       or d.status = 'CANCELLED' and d.failure_reason is distinct from 'CANCELLED_BY_USER'`,
    [JSON.stringify(ends)],
  );
  expect(rows).toEqual([]);
}

async function carryOut(groups: readonly (readonly Step[])[]): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  lastRun = promise;
  using _ended = { [Symbol.dispose]: resolve };
  await fixture.db.pipeline.query('truncate deliveries, attempts, events, recoveries');
  await fixture.db.pipeline.query('update webhooks set deleted_at = now() where deleted_at is null');
  const webhookIds = [await addWebhook(fixture), await addWebhook(fixture)];
  const run = new Run(webhookIds);
  for (const group of groups) {
    await Promise.all(group.map(async ({ kind, pick }) => await run.actions[kind](pick)));
    await expectNextSteps();
  }
  await run.drain();
  await expectLedgerAddsUp(run);
  for (const id of webhookIds) await resumeWebhook(fixture.db, fixture.projectId, id, testActor);
  await run.drain();
  await expectLedgerAddsUp(run);
  const { counts } = await ledger(fixture.db, fixture.projectId);
  expect(counts).toMatchObject({ PENDING: 0, DELIVERING: 0, RETRYING: 0 });
}

const pick = fc.nat(1000);
const alone = (...kinds: Step['kind'][]): fc.Arbitrary<Step[]> =>
  fc.tuple(fc.record({ kind: fc.constantFrom(...kinds), pick }));
const together = fc.array(
  fc.record({
    kind: fc.constantFrom<Step['kind'][]>(
      ...(['claim', 'claim', 'succeed', 'fail', 'fail', 'die', 'resend', 'replay', 'cancel'] as const),
      ...(['recover', 'recoverOn', 'recoverOn'] as const),
      ...(['pause', 'pause', 'resume', 'resumeHalfway', 'disable', 'delete', 'sweep'] as const),
    ),
    pick,
  }),
  { minLength: 1, maxLength: 6 },
);
// What waits for nobody stands alone: an emit is over long before sweep's grace, and time passes for all at once.
const groups = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: alone('emit', 'emit', 'emitTest', 'emitLater') },
    { weight: 1, arbitrary: alone('wait', 'restart') },
    { weight: 6, arbitrary: together },
  ),
  { minLength: 5, maxLength: 25 },
);

test('whatever happens in whatever order, every delivery has a next step until it ends, all end once webhooks are resumed, and the ledger adds up', async () => {
  await fc.assert(fc.asyncProperty(groups, carryOut), { numRuns: 40, interruptAfterTimeLimit: 8_000 });
}, 60_000);
