import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type DeliveryId, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: SchemaFixture;
beforeAll(async () => {
  fixture = await openSchemaFixture();
});
afterAll(async () => await fixture[Symbol.asyncDispose]());
beforeEach(() => {
  fixture.statements.length = 0;
});

async function addAttempts(ids: readonly DeliveryId[], count: number): Promise<void> {
  const data = ids.flatMap((id) =>
    Array.from({ length: count }, (_, index) => ({
      id: newUuid(),
      deliveryId: uuidOf(id),
      number: index + 1,
      outcome: 'FAILED' as const,
      trigger: 'AUTOMATIC' as const,
      startedAt: new Date(),
      durationMs: 12,
      responseStatus: 500,
      responseHeaders: [{ name: 'server', value: 'test' }],
      responseBody: `answer ${index + 1}`,
    })),
  );
  await fixture.db.prisma.attempt.createMany({ data });
}

const listPage = `query ($first: Int, $after: String, $last: Int, $before: String, $filter: DeliveryFilter) {
  deliveries(first: $first, after: $after, last: $last, before: $before, filter: $filter) {
    edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

async function listIds(variables: object): Promise<string[]> {
  const { data, errors } = await fixture.run(listPage, variables);
  expect(errors).toEqual([]);
  return data.deliveries.edges.map((edge: { node: { id: string } }) => edge.node.id);
}

describe('a page of deliveries', () => {
  let webhookId: WebhookId;
  let ids: DeliveryId[];
  beforeAll(async () => {
    webhookId = await addWebhook(fixture);
    ids = await addDeliveries(fixture, webhookId, 25, { status: 'RETRYING', attemptCount: 3, dueAt: new Date() });
    await addAttempts(ids, 3);
  });

  const wide = `query ($first: Int!) {
    deliveries(first: $first) { nodes {
      id status nextAttemptAt event { id type } webhook { id name } lastAttempt { number responseStatus timings { dnsMs } }
      attempts(first: 2) { nodes { number } pageInfo { hasNextPage } }
    } }
  }`;

  test('costs as many statements for 20 deliveries as for 2, relations included', async () => {
    const few = await fixture.run(wide, { first: 2 });
    const fewStatements = fixture.statements.splice(0).length;
    const many = await fixture.run(wide, { first: 20 });
    expect(fixture.statements.length).toBe(fewStatements);
    expect(fewStatements).toBe(3);
    expect(few.errors).toEqual([]);
    expect(many.data.deliveries.nodes).toHaveLength(20);
    expect(many.data.deliveries.nodes[0]).toMatchObject({
      id: ids[24],
      event: { type: 'config.deployed' },
      webhook: { id: webhookId },
      lastAttempt: { number: 3, responseStatus: 500 },
      attempts: { nodes: [{ number: 3 }, { number: 2 }], pageInfo: { hasNextPage: true } },
    });
  });

  test('reads event bodies and response bodies only when somebody asks, each in one statement', async () => {
    await fixture.run(wide, { first: 20 });
    expect(fixture.statements.splice(0).filter((sql) => /body|response_headers/.test(sql))).toEqual([]);
    const { data, errors } = await fixture.run(
      `{ deliveries(first: 20) { nodes { event { body } lastAttempt { responseBody responseHeaders { name value } } } } }`,
    );
    expect(errors).toEqual([]);
    expect(data.deliveries.nodes[3].lastAttempt).toEqual({
      responseBody: 'answer 3',
      responseHeaders: [{ name: 'server', value: 'test' }],
    });
    expect(fixture.statements.filter((sql) => /body|response_headers/.test(sql))).toHaveLength(2);
  });

  test('is counted only when somebody asks', async () => {
    await fixture.run('{ deliveries { nodes { id } } }');
    expect(fixture.statements.splice(0).filter((sql) => /count\(/i.test(sql))).toEqual([]);
    const { data } = await fixture.run('{ deliveries(first: 1) { totalCount nodes { attempts { totalCount } } } }');
    expect(data.deliveries.totalCount).toBe(25);
    expect(data.deliveries.nodes[0].attempts.totalCount).toBe(3);
  });

  test('is found by each of its filters', async () => {
    const other = await addWebhook(fixture, { name: 'Other' });
    const [delivered = ''] = await addDeliveries(fixture, other, 1, { status: 'DELIVERED' });
    const event = await fixture.run('query ($id: ID!) { delivery(id: $id) { createdAt event { id } } }', {
      id: delivered,
    });
    const { createdAt } = event.data.delivery;
    const later = new Date(Date.parse(createdAt) + 1).toISOString();
    expect(await listIds({ filter: { webhookIds: [other] } })).toEqual([delivered]);
    expect(await listIds({ filter: { statuses: ['DELIVERED', 'FAILED'] } })).toEqual([delivered]);
    expect(await listIds({ filter: { eventIds: [event.data.delivery.event.id] } })).toEqual([delivered]);
    expect(await listIds({ filter: { since: createdAt } })).toEqual([delivered]);
    expect(await listIds({ filter: { since: later } })).toEqual([]);
    expect(await listIds({ first: 100, filter: { until: createdAt } })).toHaveLength(25);
    expect(await listIds({ filter: { eventTypes: ['config.*'], statuses: ['DELIVERED'] } })).toEqual([delivered]);
    expect(await listIds({ filter: { eventTypes: ['config'] } })).toEqual([]);
    await fixture.db.prisma.delivery.delete({ where: { id: uuidOf(delivered as DeliveryId) } });
  });

  test('filters by type without taking an underscore for any character', async () => {
    const emit = `mutation ($type: String!) { emitEvent(input: { type: $type }) { event { id } } }`;
    const first = await fixture.run(emit, { type: 'a_b.c' });
    expect(first.errors).toEqual([]);
    expect(first.data.emitEvent.event).not.toBeNull();
    await fixture.run(emit, { type: 'axb.c' });
    const { data } = await fixture.run('{ events(filter: { types: ["a_b.*"] }) { nodes { type } } }');
    expect(data.events.nodes).toEqual([{ type: 'a_b.c' }]);
    const types = ['a_b.c', 'axb.c'];
    await fixture.db.prisma.delivery.deleteMany({ where: { event: { type: { in: types } } } });
    await fixture.db.prisma.event.deleteMany({ where: { type: { in: types } } });
  });

  test('of events is narrowed by an idempotency key, and one that no event can have is refused', async () => {
    const emit =
      'mutation ($key: String) { emitEvent(input: { type: "keyed", idempotencyKey: $key }) { event { id } } }';
    await fixture.run(emit, { key: 'one' });
    await fixture.run(emit, { key: 'other' });
    const list = 'query ($key: String) { events(filter: { idempotencyKey: $key }) { nodes { idempotencyKey } } }';
    expect((await fixture.run(list, { key: 'one' })).data.events.nodes).toEqual([{ idempotencyKey: 'one' }]);
    for (const key of ['', '\0', 'x'.repeat(256)]) {
      expect((await fixture.run(list, { key })).errors).toMatchObject([{ code: 'BAD_USER_INPUT' }]);
    }
    await fixture.db.prisma.delivery.deleteMany({ where: { event: { type: 'keyed' } } });
    await fixture.db.prisma.event.deleteMany({ where: { type: 'keyed' } });
  });

  test('refuses more than 100, and names the argument and its value', async () => {
    const { data, errors } = await fixture.run(listPage, { first: 101 });
    expect(data).toBeNull();
    expect(errors).toEqual([{ code: 'BAD_USER_INPUT', message: 'first must be from 0 to 100, not 101.' }]);
  });

  test('pages through everything once in both directions, while rows come and go', async () => {
    const forward: string[] = [];
    let after: string | null = null;
    for (let more = true; more;) {
      const { data } = await fixture.run(listPage, { first: 7, after });
      const { edges, pageInfo } = data.deliveries;
      forward.push(...edges.map((edge: { node: { id: string } }) => edge.node.id));
      after = pageInfo.endCursor;
      more = pageInfo.hasNextPage;
      if (forward.length === 7) {
        // The very row that the cursor names goes, and a new one comes before everything.
        await fixture.db.prisma.delivery.delete({ where: { id: uuidOf(forward[6] as DeliveryId) } });
        await addDeliveries(fixture, webhookId, 1);
      }
    }
    expect(forward).toEqual(ids.toReversed());

    const backward: string[] = [];
    let before: string | null = null;
    for (let more = true; more;) {
      const { data } = await fixture.run(listPage, { last: 7, before });
      const { edges, pageInfo } = data.deliveries;
      backward.unshift(...edges.map((edge: { node: { id: string } }) => edge.node.id));
      before = pageInfo.startCursor;
      more = pageInfo.hasPreviousPage;
    }
    expect(backward).toHaveLength(25);
    expect(backward.slice(1)).toEqual(forward.filter((_, index) => index !== 6));
  });
});

describe('node ids', () => {
  test('lead back to what they name, whatever its type, and null for what is not there', async () => {
    const webhookId = await addWebhook(fixture);
    const [deliveryId = ''] = await addDeliveries(fixture, webhookId, 1);
    await addAttempts([deliveryId as DeliveryId], 1);
    const found = await fixture.run(
      'query ($id: ID!) { project { id } apiKeys { nodes { id } } delivery(id: $id) { event { id } lastAttempt { id } } }',
      { id: deliveryId },
    );
    const { project, delivery } = found.data;
    const ids = [project.id, webhookId, delivery.event.id, deliveryId, delivery.lastAttempt.id, 'nonsense', 'wh_x'];
    const { data, errors } = await fixture.run(
      `query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Delivery { event { id } webhook { name } } } }`,
      { ids },
    );
    expect(errors).toEqual([]);
    expect(data.nodes.map((node: { __typename: string } | null) => node?.__typename ?? null)).toEqual([
      'Project',
      'Webhook',
      'Event',
      'Delivery',
      'Attempt',
      null,
      null,
    ]);
    expect(data.nodes[3]).toMatchObject({
      id: deliveryId,
      event: { id: delivery.event.id },
      webhook: { name: 'Deploys' },
    });
  });
});

describe('a deleted webhook', () => {
  test('is gone from lists and lookups, and still seen through its deliveries', async () => {
    const webhookId = await addWebhook(fixture, { name: 'Deleted' });
    const [deliveryId] = await addDeliveries(fixture, webhookId, 1);
    await deleteWebhook(fixture.db, fixture.projectId, webhookId, testActor);
    const { data, errors } = await fixture.run(
      `query ($id: ID!, $deliveryId: ID!) {
        webhook(id: $id) { id } node(id: $id) { id } webhooks { nodes { name } }
        delivery(id: $deliveryId) { webhook { name deletedAt } }
      }`,
      { id: webhookId, deliveryId },
    );
    expect(errors.map((error) => error.code)).toEqual(['NOT_FOUND', 'NOT_FOUND']);
    expect(data).toMatchObject({ webhook: null, node: null, delivery: { webhook: { name: 'Deleted' } } });
    expect(data.delivery.webhook.deletedAt).not.toBeNull();
    expect(data.webhooks.nodes).not.toContainEqual({ name: 'Deleted' });
  });
});

describe('a list of webhooks', () => {
  test('is narrowed by status and by the event type that a webhook gets', async () => {
    await addWebhook(fixture, { name: 'Invoices', eventTypes: ['invoice.*'] });
    const { data, errors } = await fixture.run(
      `{ webhooks(filter: { eventType: "invoice.paid", statuses: [ACTIVE] }) { nodes { name secrets { hint expiresAt } } } }`,
    );
    expect(errors).toEqual([]);
    const names = data.webhooks.nodes.map((node: { name: string }) => node.name);
    expect(names).toContain('Invoices');
    expect(data.webhooks.nodes[0].secrets).toHaveLength(1);
    const none = await fixture.run('{ webhooks(filter: { statuses: [DISABLED] }) { totalCount nodes { id } } }');
    expect(none.data.webhooks).toEqual({ totalCount: 0, nodes: [] });
  });
});
