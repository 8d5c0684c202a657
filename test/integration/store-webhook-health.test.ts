import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { uuidOf } from '../../src/domain/ids.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { createRecorder } from '../../src/store/record-attempts.ts';
import { closeCircuit, disableWebhook, listLongFailing, openCircuit } from '../../src/store/webhook-health.ts';
import { createHealth } from '../../worker/health.ts';
import { answered } from '../support/send-result.ts';
import {
  addDelivery,
  addWebhook,
  createTestClaimer,
  openStoreFixture,
  readDelivery,
} from '../support/store-fixture.ts';
import { inNewProject, readWebhook } from '../support/worker-fixture.ts';
import type { WebhookId } from '../../src/domain/ids.ts';
import type { HealthChange } from '../../src/store/webhook-health.ts';
import type { StoreFixture } from '../support/store-fixture.ts';

const settings = { maxAttempts: 6 };
const opening = { reason: 'TIMEOUT', openMs: 60_000, openCount: 1 };
const dayMs = 24 * 3_600_000;

let shared: StoreFixture;
let fixture: StoreFixture;

beforeAll(async () => {
  shared = await openStoreFixture();
});
beforeEach(async () => {
  fixture = await inNewProject(shared);
});
afterAll(async () => await shared?.[Symbol.asyncDispose]());

async function setWebhook(webhookId: WebhookId, columns: string): Promise<void> {
  await fixture.db.pipeline.query(`update webhooks set ${columns} where id = $1`, [uuidOf(webhookId)]);
}

const open = async (webhookId: WebhookId, changes = {}): Promise<HealthChange> =>
  await openCircuit(fixture.db, settings, { projectId: fixture.projectId, webhookId }, { ...opening, ...changes });
const close = async (webhookId: WebhookId): Promise<HealthChange> =>
  await closeCircuit(fixture.db, settings, { projectId: fixture.projectId, webhookId });
const disable = async (webhookId: WebhookId, reason: 'GONE' | 'FAILING_TOO_LONG'): Promise<HealthChange> =>
  await disableWebhook(fixture.db, settings, { projectId: fixture.projectId, webhookId }, reason);

async function ownEventTypes(): Promise<string[]> {
  const events = await fixture.db.prisma.event.findMany({
    where: { projectId: uuidOf(fixture.projectId), type: { startsWith: 'posthorn.' } },
    orderBy: { id: 'asc' },
  });
  return events.map(({ type }) => type);
}

/** FAILING since some days, its last attempt failed so many days later. */
async function addFailing(days: number, laterMs: number): Promise<WebhookId> {
  const webhookId = await addWebhook(fixture);
  await open(webhookId);
  await setWebhook(
    webhookId,
    `status_changed_at = now() - interval '${days} days',
     circuit_opened_at = now() - interval '${days} days' + interval '${laterMs} ms'`,
  );
  return webhookId;
}

async function listed(webhookId: WebhookId): Promise<boolean> {
  const all = await listLongFailing(fixture.db, 5 * dayMs, 1_000);
  return all.some((webhook) => webhook.webhookId === webhookId && webhook.projectId === fixture.projectId);
}

describe('a circuit', () => {
  test('that opens makes the webhook FAILING once, however often it opens again', async () => {
    const webhookId = await addWebhook(fixture);
    expect((await open(webhookId)).changed).toBe(true);
    const first = await readWebhook(fixture, webhookId);
    expect(await open(webhookId, { reason: 'HTTP_500', openCount: 2 })).toEqual({ changed: false, event: null });
    const second = await readWebhook(fixture, webhookId);
    expect(second).toMatchObject({ status: 'FAILING', statusReason: 'HTTP_500', circuitOpenCount: 2 });
    expect(second.statusChangedAt).toEqual(first.statusChangedAt);
    expect(second.circuitOpenedAt?.getTime()).toBeGreaterThanOrEqual(first.circuitOpenedAt?.getTime() ?? 0);
    expect((await close(webhookId)).changed).toBe(true);
    expect(await close(webhookId)).toEqual({ changed: false, event: null });
    expect(await ownEventTypes()).toEqual(['posthorn.webhook.failing', 'posthorn.webhook.recovered']);
  });

  test.each(['PAUSED', 'DISABLED'])('changes nothing of a webhook that is %s', async (status) => {
    const webhookId = await addWebhook(fixture);
    await setWebhook(webhookId, `status = '${status}'`);
    const before = await readWebhook(fixture, webhookId);
    expect([(await open(webhookId)).changed, (await close(webhookId)).changed]).toEqual([false, false]);
    expect(await readWebhook(fixture, webhookId)).toEqual(before);
  });

  test("changes nothing of a deleted webhook or another project's", async () => {
    const webhookId = await addWebhook(fixture);
    const stranger = { projectId: fixture.strangerId, webhookId };
    expect((await openCircuit(fixture.db, settings, stranger, opening)).changed).toBe(false);
    await setWebhook(webhookId, 'deleted_at = now()');
    expect((await open(webhookId)).changed).toBe(false);
    expect((await readWebhook(fixture, webhookId)).status).toBe('ACTIVE');
  });
});

describe('a webhook that fails for too long', () => {
  test('is one whose attempts have failed for the whole time, to the millisecond', async () => {
    expect(await listed(await addFailing(9, 5 * dayMs))).toBe(true);
    expect(await listed(await addFailing(9, 5 * dayMs - 1))).toBe(false);
  });

  test('is not one that nothing was sent to meanwhile', async () => {
    expect(await listed(await addFailing(30, 60_000))).toBe(false);
  });

  test('is not one that has recovered, is paused, or is deleted', async () => {
    const ids = [
      await addFailing(9, 8 * dayMs),
      await addFailing(9, 8 * dayMs),
      await addFailing(9, 8 * dayMs),
    ] as const;
    await close(ids[0]);
    await setWebhook(ids[1], "status = 'PAUSED'");
    await setWebhook(ids[2], 'deleted_at = now()');
    expect([await listed(ids[0]), await listed(ids[1]), await listed(ids[2])]).toEqual([false, false, false]);
  });

  test('is disabled by the clock, once, and the project is told; one that has recovered meanwhile is not', async () => {
    await using feed = createInProcessFeed();
    const news = await feed.subscribe(fixture.projectId);
    const queue = { enqueue: async () => {} };
    const announcing = { feed, queue: queue as never, now: () => new Date(), onLost: () => expect.unreachable() };
    const health = createHealth(fixture.db, announcing, { ...settings, disableAfterMs: 5 * dayMs });
    const webhookId = await addFailing(9, 6 * dayMs);
    const young = await addFailing(9, 4 * dayMs);
    const { signal } = new AbortController();
    expect(await health.disableLongFailing(signal)).toBeGreaterThan(0);
    expect(await health.disableLongFailing(signal)).toBe(0);
    expect(await readWebhook(fixture, webhookId)).toMatchObject({
      status: 'DISABLED',
      statusReason: 'FAILING_TOO_LONG',
      circuitOpenUntil: null,
    });
    expect((await readWebhook(fixture, young)).status).toBe('FAILING');
    expect((await ownEventTypes()).filter((type) => type === 'posthorn.webhook.disabled')).toHaveLength(1);
    expect((await news.next()).value?.entry).toMatchObject({ change: 'WEBHOOK_STATUS_CHANGED', webhookId });
    const recovered = await addFailing(9, 6 * dayMs);
    await close(recovered);
    expect((await disable(recovered, 'FAILING_TOO_LONG')).changed).toBe(false);
  });
});

describe('an own event', () => {
  test('goes to other webhooks that name it, not to the one it is about nor to one that takes everything', async () => {
    const webhookId = await addWebhook(fixture, { eventTypes: ['*', 'posthorn.*'] });
    await addWebhook(fixture, { eventTypes: ['*'] });
    const [byGroup, byName] = [
      await addWebhook(fixture, { eventTypes: ['posthorn.*'] }),
      await addWebhook(fixture, { eventTypes: ['posthorn.webhook.failing'] }),
    ];
    const { event } = await open(webhookId);
    expect(event?.deliveries.map((delivery) => delivery.webhookId).toSorted()).toEqual([byGroup, byName].toSorted());
  });

  test('that cannot be stored keeps the status as it was, and a delivery its attempt unrecorded', async () => {
    const webhookIds = [await addWebhook(fixture), await addWebhook(fixture)] as const;
    await open(webhookIds[1]);
    const id = await addDelivery(fixture, webhookIds[0], { attemptCount: 5 });
    const claim = createTestClaimer(fixture, { retryScheduleSeconds: [60], claimLeaseMs: 60_000 });
    const claimed = await claim(id);
    if (claimed.kind !== 'claimed') throw new Error(`the delivery is ${claimed.kind}`);
    const before = await Promise.all(webhookIds.map(async (webhookId) => await readWebhook(fixture, webhookId)));
    await fixture.db.pipeline.query(`
      create function refuse() returns trigger language plpgsql as
        $$ begin raise exception 'not this one' using errcode = '23514'; end $$;
      create trigger refuse before insert on events for each row when (new.type like 'posthorn.%')
        execute function refuse()`);
    try {
      await expect(open(webhookIds[0])).rejects.toThrow('not this one');
      await expect(close(webhookIds[1])).rejects.toThrow('not this one');
      await expect(disable(webhookIds[0], 'GONE')).rejects.toThrow('not this one');
      const decision = { kind: 'failed', reason: 'EXHAUSTED', disableWebhook: null } as const;
      const record = createRecorder(fixture.db, settings);
      await expect(record({ dispatch: claimed.dispatch, result: answered(500), decision })).rejects.toThrow(
        'not this one',
      );
    } finally {
      await fixture.db.pipeline.query('drop trigger refuse on events; drop function refuse');
    }
    expect(await Promise.all(webhookIds.map(async (webhookId) => await readWebhook(fixture, webhookId)))).toEqual(
      before,
    );
    expect(await readDelivery(fixture, id)).toMatchObject({ status: 'DELIVERING', attemptCount: 5 });
    expect(await fixture.db.prisma.attempt.count({ where: { deliveryId: uuidOf(id) } })).toBe(0);
  });
});
