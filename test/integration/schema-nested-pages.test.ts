import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type DeliveryId, idFromUuid, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';

// What lists inside of lists show, and that they cost as many SQL statements for 50 parents as for one.

const webhookCount = 50;
let fixture: SchemaFixture;
const deliveries = new Map<WebhookId, DeliveryId[]>();

beforeAll(async () => {
  fixture = await openSchemaFixture();
  for (let index = 0; index < webhookCount; index += 1) {
    const webhookId = await addWebhook(fixture, { name: `Webhook ${index}`, eventTypes: [`of.w${index}`] });
    const ids = await addDeliveries(fixture, webhookId, 4, { status: index % 2 === 0 ? 'DELIVERED' : 'FAILED' });
    deliveries.set(webhookId, ids);
    await addAttempts(ids);
  }
});
afterAll(async () => await fixture[Symbol.asyncDispose]());
beforeEach(() => {
  fixture.statements.length = 0;
});

/** Two of each delivery: answered with 503, then with 200 plus the delivery's place. */
async function addAttempts(ids: readonly DeliveryId[]): Promise<void> {
  const data = ids.flatMap((id, index) => [attemptOf(id, 1, 503), attemptOf(id, 2, 200 + index)]);
  await fixture.db.prisma.attempt.createMany({ data });
}

function attemptOf(id: DeliveryId, number: number, responseStatus: number) {
  return {
    id: newUuid(),
    deliveryId: uuidOf(id),
    number,
    outcome: responseStatus === 503 ? ('FAILED' as const) : ('SUCCEEDED' as const),
    trigger: 'AUTOMATIC' as const,
    startedAt: new Date(),
    durationMs: 5,
    responseStatus,
  };
}

function idsOf(nodes: readonly { id: string }[]): string[] {
  return nodes.map(({ id }) => id);
}

const delivery = `id status nextAttemptAt upcomingAttempts { number } event { id type } webhook { id name secrets { hint } }
  lastAttempt { number responseStatus } attempts(first: 1) { totalCount nodes { number } }`;

describe('a list inside of a list', () => {
  // With a webhook's secrets come two of Prisma's; the other lists and relations are one each.
  test.each([
    ['of webhooks', `webhooks(first: $first) { nodes { deliveries(first: 2) { nodes { ${delivery} } } } }`, 8],
    ['of events', `events(first: $first) { nodes { deliveries(first: 2) { nodes { ${delivery} } } } }`, 8],
    [
      'of deliveries’ webhooks',
      'deliveries(first: $first) { nodes { webhook { deliveries(last: 1) { nodes { event { type } } } } } }',
      2,
    ],
    [
      'of deliveries’ events',
      'deliveries(first: $first) { nodes { event { deliveries { totalCount nodes { webhook { name } } } } } }',
      3,
    ],
    [
      'with a filter and a count',
      `webhooks(first: $first) { nodes { deliveries(first: 1, filter: { statuses: [FAILED], responseStatus: 203 }) {
        totalCount nodes { id }
      } } }`,
      3,
    ],
    [
      'of attempts’ deliveries',
      'deliveries(first: $first) { nodes { attempts(last: 1) { nodes { number delivery { id webhook { name } } } } } }',
      5,
    ],
  ])('%s costs as many statements for 50 parents as for one', async (_name, selection, statementCount) => {
    const document = `query ($first: Int!) { ${selection} }`;
    const one = await fixture.run(document, { first: 1 });
    const ofOne = fixture.statements.splice(0);
    const many = await fixture.run(document, { first: webhookCount });
    expect([...one.errors, ...many.errors]).toEqual([]);
    expect(fixture.statements.length).toBe(ofOne.length);
    expect(ofOne.length).toBe(statementCount);
    expect(fixture.statements.filter((sql) => /body|response_headers/.test(sql))).toEqual([]);
  });

  test('looks filtered ids up in one statement, however many lists name them', async () => {
    const document = `query ($first: Int!, $ids: [ID!]!) {
      webhooks(first: $first) { nodes { id deliveries(filter: { webhookIds: $ids }) { nodes { id } } } }
    }`;
    const ids = [...deliveries.keys()].slice(0, 2);
    await fixture.run(document, { first: 1, ids });
    const ofOne = fixture.statements.splice(0).length;
    const { data, errors } = await fixture.run(document, { first: webhookCount, ids });
    expect(errors).toEqual([]);
    expect(fixture.statements.length).toBe(ofOne);
    for (const node of data.webhooks.nodes) expect(node.deliveries.nodes).toHaveLength(ids.includes(node.id) ? 4 : 0);
  });

  test('gives each parent its own rows, in order, in both directions', async () => {
    const { data, errors } = await fixture.run(`{
      webhooks(first: 50) { nodes { id
        newest: deliveries(first: 3) { nodes { id } pageInfo { hasNextPage } }
        oldest: deliveries(last: 2) { totalCount nodes { id webhook { id } lastAttempt { responseStatus } } }
      } }
    }`);
    expect(errors).toEqual([]);
    expect(data.webhooks.nodes).toHaveLength(webhookCount);
    for (const webhook of data.webhooks.nodes) {
      const ids = deliveries.get(webhook.id) ?? [];
      expect(webhook.newest).toEqual({
        nodes: [3, 2, 1].map((index) => ({ id: ids[index] })),
        pageInfo: { hasNextPage: true },
      });
      expect(webhook.oldest).toEqual({
        totalCount: 4,
        nodes: [1, 0].map((index) => ({
          id: ids[index],
          webhook: { id: webhook.id },
          lastAttempt: { responseStatus: 200 + index },
        })),
      });
    }
  });

  test('goes on behind a cursor', async () => {
    const [webhookId = '' as WebhookId] = deliveries.keys();
    const document = `query ($id: ID!, $after: String, $before: String, $first: Int, $last: Int) {
      webhook(id: $id) { deliveries(first: $first, after: $after, last: $last, before: $before) {
        nodes { id } pageInfo { startCursor endCursor hasNextPage hasPreviousPage }
      } }
    }`;
    const ids = (deliveries.get(webhookId) ?? []).toReversed();
    const first = await fixture.run(document, { id: webhookId, first: 2 });
    const { endCursor: after } = first.data.webhook.deliveries.pageInfo;
    const second = await fixture.run(document, { id: webhookId, first: 2, after });
    expect(idsOf(second.data.webhook.deliveries.nodes)).toEqual(ids.slice(2));
    const { startCursor: before } = second.data.webhook.deliveries.pageInfo;
    const back = await fixture.run(document, { id: webhookId, last: 1, before });
    expect(back.data.webhook.deliveries.nodes).toEqual([{ id: ids[1] }]);
    expect(back.data.webhook.deliveries.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: true });
  });
});

describe('a filter by the last attempt’s status', () => {
  const document = `query ($filter: DeliveryFilter) { deliveries(first: 100, filter: $filter) {
    totalCount nodes { lastAttempt { responseStatus } }
  } }`;

  test('finds what was last answered so, and not what was answered so before', async () => {
    const { data } = await fixture.run(document, { filter: { responseStatus: 202 } });
    expect(data.deliveries.totalCount).toBe(webhookCount);
    expect(new Set(data.deliveries.nodes.map((node: object) => JSON.stringify(node)))).toEqual(
      new Set(['{"lastAttempt":{"responseStatus":202}}']),
    );
    const before = await fixture.run(document, { filter: { responseStatus: 503 } });
    expect(before.data.deliveries).toEqual({ totalCount: 0, nodes: [] });
  });

  test('goes together with the other filters', async () => {
    const [webhookId = '' as WebhookId, other = '' as WebhookId] = deliveries.keys();
    const filter = { responseStatus: 201, webhookIds: [webhookId, other], statuses: ['DELIVERED'] };
    const { data } = await fixture.run(document, { filter });
    expect(data.deliveries.totalCount).toBe(1);
  });

  test.each([[99], [600], [-1]])('refuses %i as BAD_USER_INPUT', async (responseStatus) => {
    const { errors } = await fixture.run(document, { filter: { responseStatus } });
    expect(errors).toMatchObject([
      { code: 'BAD_USER_INPUT', message: expect.stringContaining('filter.responseStatus') },
    ]);
  });
});

describe('a filter by webhooks or events', () => {
  test('gives the newest of all of them, in the order of the list and without doubles', async () => {
    const [first = '' as WebhookId, second = '' as WebhookId] = deliveries.keys();
    const expected = [...(deliveries.get(first) ?? []), ...(deliveries.get(second) ?? [])].toReversed();
    const document =
      'query ($first: Int, $filter: DeliveryFilter) { deliveries(first: $first, filter: $filter) { totalCount nodes { id event { id } } } }';
    const page = await fixture.run(document, { first: 5, filter: { webhookIds: [second, first, second] } });
    expect(idsOf(page.data.deliveries.nodes)).toEqual(expected.slice(0, 5));
    expect(page.data.deliveries.totalCount).toBe(8);
    const eventIds = page.data.deliveries.nodes.map(({ event }: { event: { id: string } }) => event.id);
    const ofEvents = await fixture.run(document, { first: 100, filter: { eventIds, webhookIds: [second] } });
    expect(idsOf(ofEvents.data.deliveries.nodes)).toEqual(expected.slice(0, 4));
  });
});

test('a delivery whose event is gone says so where the event was asked for', async () => {
  const [webhookId = '' as WebhookId] = deliveries.keys();
  const [deliveryId = '' as DeliveryId] = await addDeliveries(fixture, webhookId, 1);
  const row = await fixture.db.prisma.delivery.findUniqueOrThrow({ where: { id: uuidOf(deliveryId) } });
  await fixture.db.prisma.event.delete({ where: { id: row.eventId } });
  const { errors } = await fixture.run('query ($id: ID!) { delivery(id: $id) { id event { id } } }', {
    id: deliveryId,
  });
  expect(errors).toEqual([{ code: 'NOT_FOUND', message: `No event with id "${idFromUuid('event', row.eventId)}".` }]);
});
