import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { decide } from '../../src/domain/delivery.ts';
import { uuidOf } from '../../src/domain/ids.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { releaseHeldDeliveries } from '../../src/store/held-deliveries.ts';
import { ledger } from '../../src/store/ledger.ts';
import { createRecorder } from '../../src/store/record-attempts.ts';
import { resendDelivery } from '../../src/store/resend-delivery.ts';
import { indexOpenDeliveries, listDue, releaseAllClaims } from '../../src/store/sweep.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { answered } from '../support/send-result.ts';
import { createTestClaimer, addWebhook, openStoreFixture } from '../support/store-fixture.ts';
import type { Dispatch } from '../../src/domain/delivery.ts';
import type { DeliveryId, WebhookId } from '../../src/domain/ids.ts';
import type { StoreFixture } from '../support/store-fixture.ts';

const never = new AbortController().signal;
const claimLeaseMs = 60_000;
/** Due times are whole milliseconds, rounded; what is due within a second counts as due. */
const listGraceMs = -1_000;
const roundsMax = 30;

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await openStoreFixture();
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());

/** Something that happens to the deliveries. `pick` chooses among what there is. */
interface Step {
  kind: keyof Actions;
  pick: number;
}

type Actions = Record<
  | 'emit'
  | 'emitTest'
  | 'claim'
  | 'succeed'
  | 'fail'
  | 'die'
  | 'resend'
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
  readonly #emit = createEmitter(fixture.db, { maxAttempts: 3 });
  readonly #workers = [0, 1].map(() => ({
    claim: createTestClaimer(fixture, { retryScheduleSeconds: [0], claimLeaseMs }),
    record: createRecorder(fixture.db, { maxAttempts: 3 }),
  }));

  constructor(webhookIds: readonly WebhookId[]) {
    this.#webhookIds = webhookIds;
  }

  readonly actions: Actions = {
    emit: async () => await this.#store(null),
    emitTest: async (pick) => await this.#store(this.#webhook(pick)),
    claim: async (pick) => await this.claim(this.#delivery(pick), pick),
    succeed: async (pick) => await this.#record(pick, 200),
    fail: async (pick) => await this.#record(pick, 500),
    die: async (pick) => void this.#inHand.splice(pick % Math.max(1, this.#inHand.length), 1),
    resend: async (pick) => {
      const id = this.#delivery(pick);
      if (id === null) return;
      await resendDelivery(fixture.db, fixture.projectId, id, { defaultMaxAttempts: 3, claimLeaseMs });
    },
    pause: async (pick) => void (await pauseWebhook(fixture.db, fixture.projectId, this.#webhook(pick))),
    resume: async (pick) => void (await resumeWebhook(fixture.db, fixture.projectId, this.#webhook(pick))),
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
    delete: async (pick) => void (await deleteWebhook(fixture.db, fixture.projectId, this.#webhook(pick))),
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
    if (this.#taken.has(id)) throw new Error(`${id} was claimed twice`);
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

  async #openCount(): Promise<number> {
    const { rows } = await fixture.db.pipeline.query<{ count: number }>(
      `select count(*)::int from deliveries d join webhooks w on w.id = d.webhook_id
       where d.status in ('PENDING', 'DELIVERING', 'RETRYING')
         and not (d.held and w.status = 'PAUSED' and w.deleted_at is null)`,
    );
    return rows[0]?.count ?? 0;
  }

  async #store(testWebhookId: WebhookId | null): Promise<void> {
    const result = await this.#emit({
      projectId: fixture.projectId,
      type: 'config.deployed',
      data: {},
      idempotencyKey: null,
      occurredAt: new Date(),
      deliverAt: null,
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
    await this.#workers[pick % 2]?.record({ dispatch, result, decision: decide(dispatch, result, 0.5) });
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

/** Rows that are not what a delivery may be, once nothing is due any more. */
const wrongRowsSql = `
select d.id, d.status, d.held, d.due_at, d.claimed_at, d.attempt_count, w.status as webhook_status
from deliveries d join webhooks w on w.id = d.webhook_id
where not case
    when d.status in ('DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED')
      then not d.held and d.due_at is null and d.claimed_at is null and d.finished_at is not null
    when d.status in ('PENDING', 'RETRYING')
      then d.held and d.due_at is null and d.claimed_at is null and d.finished_at is null
        and w.status = 'PAUSED' and w.deleted_at is null
    else false
  end
  or (d.status = 'DELIVERED' and not exists (select from attempts a where a.delivery_id = d.id and a.outcome = 'SUCCEEDED'))
  or d.attempt_count <> (select coalesce(max(a.number), 0) from attempts a where a.delivery_id = d.id)`;

async function expectLedgerAddsUp(run: Run): Promise<void> {
  expect((await fixture.db.pipeline.query(wrongRowsSql)).rows).toEqual([]);
  expect((await ledger(fixture.db, fixture.projectId)).accepted).toBe(run.deliveryIds.length);
  expect(await fixture.db.prisma.attempt.count()).toBe(run.recordCount);
}

async function carryOut(groups: readonly (readonly Step[])[]): Promise<void> {
  await fixture.db.pipeline.query('truncate deliveries, attempts, events');
  await fixture.db.pipeline.query('update webhooks set deleted_at = now() where deleted_at is null');
  const webhookIds = [await addWebhook(fixture), await addWebhook(fixture)];
  const run = new Run(webhookIds);
  for (const group of groups) await Promise.all(group.map(async ({ kind, pick }) => await run.actions[kind](pick)));
  await run.drain();
  await expectLedgerAddsUp(run);
  for (const id of webhookIds) await resumeWebhook(fixture.db, fixture.projectId, id);
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
      ...(['claim', 'claim', 'succeed', 'fail', 'fail', 'die', 'resend'] as const),
      ...(['pause', 'pause', 'resume', 'resumeHalfway', 'disable', 'delete', 'sweep'] as const),
    ),
    pick,
  }),
  { minLength: 1, maxLength: 6 },
);
// What waits for nobody stands alone: an emit is over long before sweep's grace, and time passes for all at once.
const groups = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: alone('emit', 'emit', 'emitTest') },
    { weight: 1, arbitrary: alone('wait', 'restart') },
    { weight: 6, arbitrary: together },
  ),
  { minLength: 5, maxLength: 25 },
);

test('whatever happens in whatever order, every delivery ends or is held by a paused webhook, and the ledger adds up', async () => {
  await fc.assert(fc.asyncProperty(groups, carryOut), { numRuns: 40, interruptAfterTimeLimit: 8_000 });
}, 60_000);
