import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { newId } from '../../src/store/new-id.ts';
import { createProject } from '../../src/store/projects.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook } from '../../src/store/webhook-status.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addDelivery, addWebhook, readDelivery } from '../support/store-fixture.ts';
import { inNewProject } from '../support/worker-fixture.ts';
import { testActor } from '../support/test-actor.ts';

const recoveryParts = `id status since until dryRun ratePerSecond matchedCount recoveredCount passedOverCount remainingCount
  progress createdAt finishedAt filter { webhookIds statuses eventTypes failureReasons }`;
const recover = `mutation ($input: RecoverDeliveriesInput!) {
  recoverDeliveries(input: $input) { recovery { ${recoveryParts} } userErrors { field code message } }
}`;
const cancel = `mutation ($id: ID!) {
  cancelRecovery(input: { id: $id }) { recovery { ${recoveryParts} } userErrors { field code message } }
}`;
const replay = `mutation ($eventId: ID!, $webhookId: ID!) {
  replayEvent(input: { eventId: $eventId, webhookId: $webhookId }) {
    delivery { id status maxAttempts webhook { id } event { id } } userErrors { field code message }
  }
}`;
const failed = { status: 'FAILED', attemptCount: 6, failureReason: 'EXHAUSTED', finishedAt: new Date() } as const;

let shared: SchemaFixture;
let fixture: SchemaFixture;
beforeAll(async () => {
  shared = await openSchemaFixture();
  return async () => await shared[Symbol.asyncDispose]();
});
beforeEach(async () => {
  fixture = await inNewProject(shared);
});

/** Runs an operation as the test's own project. */
async function ask(document: string, variables: object = {}) {
  return await fixture.run(document, variables, fixture.contextOf(fixture.projectId));
}

function hourAgo(): string {
  return new Date(Date.now() - 3_600_000).toISOString();
}

describe('recoverDeliveries', () => {
  test('stores a recovery with what it takes and how many that are, and the audit names it', async () => {
    const webhookId = await addWebhook(fixture);
    await addDeliveries(fixture, webhookId, 3, failed);
    await addDelivery(fixture, webhookId, { ...failed, status: 'CANCELLED' });
    const since = hourAgo();
    const { data, errors } = await ask(recover, { input: { since } });
    expect(errors).toEqual([]);
    expect(data.recoverDeliveries).toEqual({
      recovery: {
        id: expect.stringMatching(/^rcv_/),
        status: 'RUNNING',
        since,
        until: expect.any(String),
        dryRun: false,
        ratePerSecond: 500,
        matchedCount: 3,
        recoveredCount: 0,
        passedOverCount: 0,
        remainingCount: 3,
        progress: 0,
        createdAt: expect.any(String),
        finishedAt: null,
        filter: { webhookIds: null, statuses: ['FAILED', 'SKIPPED'], eventTypes: null, failureReasons: null },
      },
      userErrors: [],
    });
    const { id } = data.recoverDeliveries.recovery;
    const where = { action: 'recoverDeliveries', targetId: id };
    expect(await fixture.db.prisma.auditEntry.count({ where })).toBe(1);
    expect((await ask(`{ recovery(id: "${id}") { ${recoveryParts} } }`)).data.recovery).toEqual(
      data.recoverDeliveries.recovery,
    );
  });

  test('a dry run is COMPLETED with its counts, and nothing remains of it', async () => {
    const webhookId = await addWebhook(fixture);
    await addDeliveries(fixture, webhookId, 3, failed);
    const filter = {
      webhookIds: [webhookId],
      statuses: ['FAILED'],
      eventTypes: ['config.*'],
      failureReasons: ['EXHAUSTED'],
    };
    const { data } = await ask(recover, { input: { since: hourAgo(), dryRun: true, ratePerSecond: 7, filter } });
    expect(data.recoverDeliveries.recovery).toMatchObject({
      status: 'COMPLETED',
      dryRun: true,
      ratePerSecond: 7,
      matchedCount: 3,
      remainingCount: 0,
      progress: 1,
      finishedAt: expect.any(String),
      filter,
    });
  });

  test.each([
    [{ since: '2999-01-01T00:00:00Z' }, ['since'], 'INVALID_RANGE'],
    [{ until: '2999-01-01T00:00:00Z' }, ['until'], 'INVALID_RANGE'],
    [{ ratePerSecond: 0 }, ['ratePerSecond'], 'INVALID_RATE'],
    [{ ratePerSecond: 5_001 }, ['ratePerSecond'], 'INVALID_RATE'],
    [{ filter: { eventTypes: ['ok', 'Not OK'] } }, ['filter', 'eventTypes', '1'], 'INVALID_EVENT_TYPE'],
    [{ filter: { failureReasons: ['BORED'] } }, ['filter', 'failureReasons', '0'], 'INVALID_FAILURE_REASON'],
    [{ filter: { webhookIds: ['wh_1'] } }, ['filter', 'webhookIds', '0'], 'NOT_FOUND'],
  ])('%j is refused, naming the field and the value', async (wrong, path, code) => {
    const { data, errors } = await ask(recover, { input: { since: hourAgo(), ...wrong } });
    expect(errors).toEqual([]);
    const { recovery, userErrors } = data.recoverDeliveries;
    expect(recovery).toBe(null);
    expect(userErrors).toEqual([{ field: ['input', ...path], code, message: expect.any(String) }]);
  });

  test("a stranger's webhook is not found", async () => {
    const theirs = await addWebhook({ ...fixture, projectId: fixture.strangerId });
    const { data } = await ask(recover, { input: { since: hourAgo(), filter: { webhookIds: [theirs] } } });
    expect(data.recoverDeliveries).toEqual({
      recovery: null,
      userErrors: [
        {
          field: ['input', 'filter', 'webhookIds', '0'],
          code: 'NOT_FOUND',
          message: `No webhook with id "${theirs}".`,
        },
      ],
    });
  });

  test('the sixth at once is refused until one is cancelled', async () => {
    const input = { since: hourAgo() };
    const first = (await ask(recover, { input })).data.recoverDeliveries.recovery.id;
    for (let count = 1; count < 5; count += 1) await ask(recover, { input });
    const refused = (await ask(recover, { input })).data.recoverDeliveries;
    expect(refused).toMatchObject({ recovery: null, userErrors: [{ field: null, code: 'TOO_MANY_RECOVERIES' }] });
    expect((await ask(cancel, { id: first })).data.cancelRecovery).toMatchObject({
      recovery: { id: first, status: 'CANCELLED', finishedAt: expect.any(String) },
      userErrors: [],
    });
    expect((await ask(recover, { input })).data.recoverDeliveries.userErrors).toEqual([]);
  });

  test('one that has ended cannot be cancelled, nor can a stranger’s', async () => {
    const { id } = (await ask(recover, { input: { since: hourAgo(), dryRun: true } })).data.recoverDeliveries.recovery;
    const [ended] = (await ask(cancel, { id })).data.cancelRecovery.userErrors;
    expect(ended).toMatchObject({ field: ['input', 'id'], code: 'ALREADY_ENDED' });
    const asStranger = await fixture.run(cancel, { id }, fixture.contextOf(fixture.strangerId));
    expect(asStranger.data.cancelRecovery.userErrors[0].code).toBe('NOT_FOUND');
  });
});

describe('the list of recoveries', () => {
  test('is the project’s own, newest first, in pages, and each is a node', async () => {
    const ids: string[] = [];
    for (let count = 0; count < 3; count += 1) {
      const { data } = await ask(recover, { input: { since: hourAgo(), dryRun: true } });
      ids.unshift(data.recoverDeliveries.recovery.id);
    }
    const page = `query ($after: String) { recoveries(first: 2, after: $after) {
      totalCount nodes { id } pageInfo { hasNextPage endCursor } } }`;
    const first = (await ask(page)).data.recoveries;
    expect(first).toMatchObject({ totalCount: 3, nodes: ids.slice(0, 2).map((id) => ({ id })) });
    const second = (await ask(page, { after: first.pageInfo.endCursor })).data.recoveries;
    expect(second.nodes).toEqual([{ id: ids[2] }]);
    const nodes = `query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }`;
    expect((await ask(nodes, { ids })).data.nodes).toEqual(ids.map((id) => ({ __typename: 'Recovery', id })));
    const stranger = fixture.contextOf(fixture.strangerId);
    expect((await fixture.run(nodes, { ids }, stranger)).data.nodes).toEqual([null, null, null]);
    expect((await fixture.run(page, {}, stranger)).data.recoveries.totalCount).toBe(0);
    const one = await fixture.run(`{ recovery(id: "${ids[0]}") { id } }`, {}, stranger);
    expect(one.errors).toMatchObject([{ code: 'NOT_FOUND' }]);
  });
});

describe('replayEvent', () => {
  test('the feed shows a new delivery as CREATED and an old one as RESENT, and the workers are told at once', async () => {
    const [before, after] = [await addWebhook(fixture), await addWebhook(fixture)];
    const deliveryId = await addDelivery(fixture, before, failed);
    const eventId = idFromUuid('event', (await readDelivery(fixture, deliveryId)).eventId);
    const feed = await fixture.feed.subscribe(fixture.projectId);
    const created = (await ask(replay, { eventId, webhookId: after })).data.replayEvent;
    expect(created).toMatchObject({
      delivery: { status: 'PENDING', maxAttempts: 6, webhook: { id: after }, event: { id: eventId } },
      userErrors: [],
    });
    const resent = (await ask(replay, { eventId, webhookId: before })).data.replayEvent;
    expect(resent).toMatchObject({ delivery: { id: deliveryId, status: 'PENDING', maxAttempts: 12 }, userErrors: [] });
    for (const [change, { delivery }] of [
      ['CREATED', created],
      ['RESENT', resent],
    ] as const) {
      const { value } = await feed.next();
      expect(value.entry).toMatchObject({ change, eventType: 'config.deployed', delivery: { id: delivery.id } });
    }
    expect(fixture.enqueued.slice(-2)).toEqual([created.delivery.id, deliveryId]);
    await feed.return?.();
  });

  test('to a paused webhook it waits, and no worker is told', async () => {
    const deliveryId = await addDelivery(fixture, await addWebhook(fixture), failed);
    const eventId = idFromUuid('event', (await readDelivery(fixture, deliveryId)).eventId);
    const paused = await addWebhook(fixture);
    await pauseWebhook(fixture.db, fixture.projectId, paused, testActor);
    const { delivery } = (await ask(replay, { eventId, webhookId: paused })).data.replayEvent;
    expect(delivery.status).toBe('PENDING');
    expect(fixture.enqueued).not.toContain(delivery.id);
  });

  test('what cannot be sent is refused, naming the field', async () => {
    const { db, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const deliveryId = await addDelivery(fixture, webhookId, failed);
    const eventId = idFromUuid('event', (await readDelivery(fixture, deliveryId)).eventId);
    const theirProject = idFromUuid('project', (await createProject(db, 'Theirs')).id);
    const theirs = await addWebhook({ ...fixture, projectId: theirProject });
    const refusals = [
      [{ eventId: newId('event'), webhookId }, 'eventId', 'NOT_FOUND'],
      [{ eventId: 'evt_1', webhookId }, 'eventId', 'NOT_FOUND'],
      [{ eventId, webhookId: theirs }, 'webhookId', 'NOT_FOUND'],
      [{ eventId, webhookId: 'wh_1' }, 'webhookId', 'NOT_FOUND'],
    ] as const;
    for (const [variables, field, code] of refusals) {
      const { delivery, userErrors } = (await ask(replay, variables)).data.replayEvent;
      expect({ delivery, userErrors }).toMatchObject({
        delivery: null,
        userErrors: [{ field: ['input', field], code }],
      });
    }
    await disableWebhook(db, { maxAttempts: 6 }, { projectId, webhookId }, 'GONE');
    expect((await ask(replay, { eventId, webhookId })).data.replayEvent.userErrors).toEqual([
      { field: ['input', 'webhookId'], code: 'WEBHOOK_UNAVAILABLE', message: `Webhook "${webhookId}" is DISABLED.` },
    ]);
    const busy = { data: { status: 'DELIVERING', claimedAt: new Date() }, where: { id: uuidOf(deliveryId) } } as const;
    await db.prisma.delivery.update(busy);
    await db.pipeline.query(`update webhooks set status = 'ACTIVE' where id = $1`, [uuidOf(webhookId)]);
    expect((await ask(replay, { eventId, webhookId })).data.replayEvent.userErrors).toMatchObject([
      { field: null, code: 'IN_FLIGHT' },
    ]);
  });
});
