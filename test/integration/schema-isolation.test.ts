import type { GraphQLObjectType } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { schema } from '../../schema/index.ts';
import type { SchemaContext } from '../../schema/context.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { createApiKey } from '../../src/store/api-keys.ts';
import { type Answer, openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';

// Everything exists, in the project of the fixture. A stranger with every permission tries each root field on it.

interface Trial {
  document: string;
  variables?: () => object;
  /** What the stranger gets. */
  expected: (answer: Answer) => void;
}

let fixture: SchemaFixture;
let stranger: SchemaContext;
const ours = { webhook: '', event: '', delivery: '', attempt: '', apiKey: '', project: '' };

beforeAll(async () => {
  fixture = await openSchemaFixture();
  stranger = fixture.contextOf(fixture.strangerId);
  const webhookId = await addWebhook(fixture);
  const [deliveryId] = await addDeliveries(fixture, webhookId, 1, { status: 'FAILED' });
  if (deliveryId === undefined) throw new Error('no delivery');
  const attempt = await fixture.db.prisma.attempt.create({
    data: {
      id: newUuid(),
      deliveryId: uuidOf(deliveryId),
      number: 1,
      outcome: 'FAILED',
      trigger: 'AUTOMATIC',
      startedAt: new Date(),
      durationMs: 1,
    },
  });
  const { eventId } = await fixture.db.prisma.delivery.findUniqueOrThrow({ where: { id: uuidOf(deliveryId) } });
  const { apiKey } = await createApiKey(fixture.db, fixture.projectId, {
    name: 'Ours',
    permissions,
    expiresAt: null,
  });
  ours.webhook = webhookId;
  ours.delivery = deliveryId;
  ours.event = idFromUuid('event', eventId);
  ours.attempt = idFromUuid('attempt', attempt.id);
  ours.apiKey = idFromUuid('apiKey', apiKey.id);
  ours.project = fixture.projectId;
});
afterAll(async () => await fixture[Symbol.asyncDispose]());

function topLevelNotFound({ data, errors }: Answer): void {
  expect(errors.length).toBeGreaterThan(0);
  expect(new Set(errors.map((error) => error.code))).toEqual(new Set(['NOT_FOUND']));
  for (const value of Object.values(data ?? {})) expect(value).toBeNull();
}

function userErrorNotFound({ data, errors }: Answer): void {
  expect(errors).toEqual([]);
  const [{ userErrors, ...rest }] = Object.values(data) as [{ userErrors: object[] }];
  expect(userErrors).toMatchObject([{ code: 'NOT_FOUND', field: ['input', 'id'] }]);
  for (const value of Object.values(rest)) expect(value).toBeNull();
}

function nothing({ data, errors }: Answer): void {
  expect(errors).toEqual([]);
  for (const value of Object.values(data)) expect(value).toEqual({ nodes: [], totalCount: 0 });
}

function mutation(field: string, input = 'id: $id', selection = ''): Omit<Trial, 'expected'> {
  return {
    document: `mutation ($id: ID!) { ${field}(input: { ${input} }) { ${selection} userErrors { field code } } }`,
  };
}

const trials: Record<string, Trial> = {
  'Query.node': {
    document: `query ($webhook: ID!, $event: ID!, $delivery: ID!, $attempt: ID!, $apiKey: ID!, $project: ID!) {
      a: node(id: $webhook) { id } b: node(id: $event) { id } c: node(id: $delivery) { id }
      d: node(id: $attempt) { id } e: node(id: $apiKey) { id } f: node(id: $project) { id }
    }`,
    expected: topLevelNotFound,
  },
  'Query.nodes': {
    document: `query ($ids: [ID!]!) { nodes(ids: $ids) { id } }`,
    variables: () => ({ ids: Object.values(ours) }),
    expected: ({ data, errors }) => {
      expect(errors).toEqual([]);
      expect(data.nodes).toEqual([null, null, null, null, null, null]);
    },
  },
  'Query.project': {
    document: '{ project { id } }',
    expected: ({ data }) => expect(data.project.id).toBe(fixture.strangerId),
  },
  'Query.webhook': { document: 'query ($webhook: ID!) { webhook(id: $webhook) { id } }', expected: topLevelNotFound },
  'Query.webhooks': { document: '{ webhooks { nodes { id } totalCount } }', expected: nothing },
  'Query.event': { document: 'query ($event: ID!) { event(id: $event) { id } }', expected: topLevelNotFound },
  'Query.events': { document: '{ events { nodes { id } totalCount } }', expected: nothing },
  'Query.delivery': {
    document: 'query ($delivery: ID!) { delivery(id: $delivery) { id } }',
    expected: topLevelNotFound,
  },
  'Query.deliveries': {
    document: '{ deliveries { nodes { id } totalCount } }',
    expected: nothing,
  },
  'Query.deliveryStats': {
    document: 'query ($webhook: ID!) { deliveryStats(webhookIds: [$webhook]) { counts { total } } }',
    expected: topLevelNotFound,
  },
  'Query.apiKeys': { document: '{ apiKeys { nodes { id } totalCount } }', expected: nothing },
  'Mutation.updateWebhook': {
    ...mutation('updateWebhook', 'id: $id, name: "Mine"', 'webhook { id }'),
    expected: userErrorNotFound,
  },
  'Mutation.deleteWebhook': { ...mutation('deleteWebhook', 'id: $id', 'webhook { id }'), expected: userErrorNotFound },
  'Mutation.pauseWebhook': { ...mutation('pauseWebhook', 'id: $id', 'webhook { id }'), expected: userErrorNotFound },
  'Mutation.resumeWebhook': { ...mutation('resumeWebhook', 'id: $id', 'webhook { id }'), expected: userErrorNotFound },
  'Mutation.rotateWebhookSecret': {
    ...mutation('rotateWebhookSecret', 'id: $id', 'webhook { id } secret'),
    expected: userErrorNotFound,
  },
  'Mutation.testWebhook': {
    ...mutation('testWebhook', 'id: $id', 'delivery { id } attempt { id }'),
    expected: userErrorNotFound,
  },
  'Mutation.resendDelivery': {
    ...mutation('resendDelivery', 'id: $id', 'delivery { id }'),
    variables: () => ({ id: ours.delivery }),
    expected: userErrorNotFound,
  },
  'Mutation.cancelDelivery': {
    ...mutation('cancelDelivery', 'id: $id', 'delivery { id }'),
    variables: () => ({ id: ours.delivery }),
    expected: userErrorNotFound,
  },
  'Mutation.createWebhook': {
    document: `mutation { createWebhook(input: { name: "Theirs", url: "https://example.com" }) { webhook { id } userErrors { code } } }`,
    expected: ({ data }) => expect(data.createWebhook.webhook.id).toMatch(/^wh_/),
  },
  'Mutation.emitEvent': {
    document: `mutation { emitEvent(input: { type: "config.deployed" }) { event { deliveries { nodes { webhook { name } } } } userErrors { code } } }`,
    // It reaches the stranger's own webhook, made above, and not ours, which takes every event too.
    expected: ({ data }) => expect(data.emitEvent.event.deliveries.nodes).toEqual([{ webhook: { name: 'Theirs' } }]),
  },
  'Mutation.createApiKey': {
    document: `mutation { createApiKey(input: { name: "Theirs", permissions: [VIEW_WEBHOOKS] }) { apiKey { id } userErrors { code } } }`,
    expected: ({ data }) => expect(data.createApiKey.apiKey.id).toMatch(/^key_/),
  },
  'Subscription.deliveryFeed': {
    document: 'subscription ($webhook: ID!) { deliveryFeed(filter: { webhookIds: [$webhook] }) { cursor } }',
    expected: topLevelNotFound,
  },
  'Subscription.deliveryUpdated': {
    document: 'subscription ($delivery: ID!) { deliveryUpdated(id: $delivery) { id } }',
    expected: topLevelNotFound,
  },
  'Subscription.deliveryStatsTicked': {
    document: 'subscription ($webhook: ID!) { deliveryStatsTicked(webhookIds: [$webhook]) { at } }',
    expected: topLevelNotFound,
  },
};

function rootFields(): string[] {
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
  return roots
    .filter((root): root is GraphQLObjectType => root !== null && root !== undefined)
    .flatMap((root) => Object.keys(root.getFields()).map((field) => `${root.name}.${field}`));
}

async function tryField(name: string, context: SchemaContext): Promise<Answer> {
  const { document, variables = () => ({ ...ours, id: ours.webhook }) } = trials[name] ?? { document: '' };
  if (!name.startsWith('Subscription.')) return await fixture.run(document, variables(), context);
  const watched = await fixture.watch(document, variables(), context);
  if (watched.kind === 'refused') return watched.answer;
  await watched.stop();
  return { data: 'started', errors: [] };
}

test('every root field is tried', () => {
  expect(Object.keys(trials).sort()).toEqual(rootFields().sort());
});

describe.each(Object.keys(trials))('%s', (name) => {
  test('gives a stranger nothing of ours', async () => {
    expect.hasAssertions();
    trials[name]?.expected(await tryField(name, stranger));
  });

  test('needs a caller', async () => {
    const { errors } = await tryField(name, { ...stranger, caller: null });
    expect(new Set(errors.map((error) => error.code))).toEqual(new Set(['UNAUTHENTICATED']));
  });

  test('needs its permission, and names it', async () => {
    const [root = '', field = ''] = name.split('.');
    const type = schema.getType(root) as GraphQLObjectType;
    const needed = type.getFields()[field]?.extensions['needs'];
    const others = permissions.filter((permission) => permission !== needed);
    const { errors } = await tryField(name, fixture.contextOf(fixture.projectId, others));
    expect(errors.length).toBeGreaterThan(0);
    for (const error of errors) {
      expect(error).toEqual({ code: 'FORBIDDEN', message: `This API key lacks the permission ${String(needed)}.` });
    }
  });
});

test.each([
  ['webhookIds', () => ours.webhook],
  ['eventIds', () => ours.event],
])('a filter of deliveries by a foreign id in %s is NOT_FOUND', async (argument, id) => {
  expect.hasAssertions();
  const document = `query ($ids: [ID!]!) { deliveries(filter: { ${argument}: $ids }) { nodes { id } } }`;
  topLevelNotFound(await fixture.run(document, { ids: [id()] }, stranger));
});

test('a cursor made of a foreign row leads to nothing of ours', async () => {
  expect.hasAssertions();
  const { data } = await fixture.run('{ deliveries { edges { cursor } } }');
  const [{ cursor }] = data.deliveries.edges;
  const answer = await fixture.run(
    `query ($cursor: String!) { deliveries(before: $cursor, filter: { statuses: [FAILED] }) { nodes { id } totalCount } }`,
    { cursor },
    stranger,
  );
  nothing(answer);
});

test('a stranger’s feed shows nothing of ours', async () => {
  const watched = await fixture.watch('subscription { deliveryFeed { delivery { id } } }', {}, stranger);
  if (watched.kind === 'refused') throw new Error('the subscription was refused');
  const next = watched.next();
  await fixture.run('mutation { emitEvent(input: { type: "a.b" }) { event { id } } }');
  const theirs = await fixture.run(
    'mutation { emitEvent(input: { type: "a.b" }) { event { deliveries { nodes { id } } } } }',
    {},
    stranger,
  );
  const { data } = (await next) ?? { data: null };
  expect(data.deliveryFeed.delivery.id).toBe(theirs.data.emitEvent.event.deliveries.nodes[0].id);
  await watched.stop();
});
