import type { GraphQLObjectType } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { schema } from '../../schema/index.ts';
import type { SchemaContext } from '../../schema/context.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { createApiKey } from '../../src/store/api-keys.ts';
import { type Answer, openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { startRecovery } from '../support/recovery.ts';
import { addDeliveries, addWebhook } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

// Everything exists, in the project of the fixture. A stranger with every permission tries each root field on it.

interface Trial {
  document: string;
  variables?: () => object;
  /** What the stranger gets. */
  expected: (answer: Answer) => void;
}

let fixture: SchemaFixture;
let stranger: SchemaContext;
const ours = {
  webhook: '',
  event: '',
  delivery: '',
  attempt: '',
  apiKey: '',
  project: '',
  eventType: '',
  recovery: '',
};

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
  const { apiKey } = await createApiKey(
    fixture.db,
    fixture.projectId,
    {
      name: 'Ours',
      permissions,
      expiresAt: null,
    },
    testActor,
  );
  ours.webhook = webhookId;
  ours.delivery = deliveryId;
  ours.event = idFromUuid('event', eventId);
  ours.attempt = idFromUuid('attempt', attempt.id);
  ours.apiKey = idFromUuid('apiKey', apiKey.id);
  ours.project = fixture.projectId;
  ours.recovery = await startRecovery(fixture);
  const { data } = await fixture.run('mutation { upsertEventType(input: { name: "ours.only" }) { eventType { id } } }');
  ours.eventType = data.upsertEventType.eventType.id;
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

function forbidden({ errors }: Answer): void {
  expect(new Set(errors.map((error) => error.code))).toEqual(new Set(['FORBIDDEN']));
}

const trials: Record<string, Trial> = {
  'Query.node': {
    document: `query ($webhook: ID!, $event: ID!, $delivery: ID!, $attempt: ID!, $apiKey: ID!, $project: ID!, $recovery: ID!, $eventType: ID!) {
      a: node(id: $webhook) { id } b: node(id: $event) { id } c: node(id: $delivery) { id }
      d: node(id: $attempt) { id } e: node(id: $apiKey) { id } f: node(id: $project) { id }
      g: node(id: $recovery) { id } h: node(id: $eventType) { id }
    }`,
    expected: topLevelNotFound,
  },
  'Query.nodes': {
    document: `query ($ids: [ID!]!) { nodes(ids: $ids) { id } }`,
    variables: () => ({ ids: Object.values(ours) }),
    expected: ({ data, errors }) => {
      expect(errors).toEqual([]);
      expect(data.nodes).toEqual(Object.values(ours).map(() => null));
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
  'Query.recovery': {
    document: 'query ($recovery: ID!) { recovery(id: $recovery) { id } }',
    expected: topLevelNotFound,
  },
  'Query.recoveries': { document: '{ recoveries { nodes { id } totalCount } }', expected: nothing },
  'Query.deliveryStats': {
    document: 'query ($webhook: ID!) { deliveryStats(webhookIds: [$webhook]) { counts { total } } }',
    expected: topLevelNotFound,
  },
  'Query.apiKeys': { document: '{ apiKeys { nodes { id } totalCount } }', expected: nothing },
  'Query.auditEntries': { document: '{ auditEntries { nodes { id } totalCount } }', expected: nothing },
  'Query.eventTypes': { document: '{ eventTypes { nodes { id } totalCount } }', expected: nothing },
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
  'Mutation.replayEvent': {
    document: `mutation ($event: ID!, $webhook: ID!) {
      replayEvent(input: { eventId: $event, webhookId: $webhook }) { delivery { id } userErrors { field code } }
    }`,
    expected: ({ data }) =>
      expect(data.replayEvent).toEqual({
        delivery: null,
        userErrors: [{ field: ['input', 'eventId'], code: 'NOT_FOUND' }],
      }),
  },
  'Mutation.recoverDeliveries': {
    document: `mutation ($webhook: ID!) {
      recoverDeliveries(input: { since: "2026-01-01T00:00:00Z", filter: { webhookIds: [$webhook] } }) {
        recovery { id } userErrors { field code }
      }
    }`,
    expected: ({ data }) =>
      expect(data.recoverDeliveries).toEqual({
        recovery: null,
        userErrors: [{ field: ['input', 'filter', 'webhookIds', '0'], code: 'NOT_FOUND' }],
      }),
  },
  'Mutation.cancelRecovery': {
    ...mutation('cancelRecovery', 'id: $id', 'recovery { id }'),
    variables: () => ({ id: ours.recovery }),
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
  'Mutation.emitEvents': {
    document: `mutation { emitEvents(input: { events: [{ type: "config.deployed" }] }) { results { event { deliveries { nodes { webhook { name } } } } } userErrors { code } } }`,
    expected: ({ data }) =>
      expect(data.emitEvents.results[0].event.deliveries.nodes).toEqual([{ webhook: { name: 'Theirs' } }]),
  },
  'Mutation.upsertEventType': {
    document: `mutation { upsertEventType(input: { name: "ours.only", description: "Theirs" }) { eventType { id } created userErrors { code } } }`,
    // A type of the same name of their own.
    expected: ({ data }) => {
      expect(data.upsertEventType.created).toBe(true);
      expect(data.upsertEventType.eventType.id).not.toBe(ours.eventType);
    },
  },
  'Mutation.deleteEventType': {
    ...mutation('deleteEventType', 'id: $id', 'eventType { id }'),
    variables: () => ({ id: ours.eventType }),
    expected: userErrorNotFound,
  },
  'Mutation.createApiKey': {
    document: `mutation { createApiKey(input: { name: "Theirs", permissions: [VIEW_WEBHOOKS] }) { apiKey { id } userErrors { code } } }`,
    expected: ({ data }) => expect(data.createApiKey.apiKey.id).toMatch(/^key_/),
  },
  'Mutation.revokeApiKey': {
    ...mutation('revokeApiKey', 'id: $id', 'apiKey { id }'),
    variables: () => ({ id: ours.apiKey }),
    expected: userErrorNotFound,
  },
  'Mutation.createAccessToken': {
    document: `mutation { createAccessToken(input: { permissions: [VIEW_WEBHOOKS] }) { token userErrors { code } } }`,
    expected: ({ data }) => expect(data.createAccessToken.token).toMatch(/^ey/),
  },
  'Mutation.createProject': {
    document: 'mutation { createProject(input: { name: "Theirs" }) { key userErrors { code } } }',
    expected: forbidden,
  },
  'Mutation.retryStuckDeliveries': {
    document: 'mutation { retryStuckDeliveries(input: {}) { enqueuedCount userErrors { code } } }',
    expected: forbidden,
  },
  'Mutation.cleanupDeliveries': {
    document: 'mutation { cleanupDeliveries(input: {}) { eventCount userErrors { code } } }',
    expected: forbidden,
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
    const message =
      needed === 'ADMINISTRATOR'
        ? 'Only the administrator may do this. This needs the admin key: send it as "authorization: Access <admin key>".'
        : `This API key lacks the permission ${String(needed)}.`;
    for (const error of errors) expect(error).toEqual({ code: 'FORBIDDEN', message });
  });
});

test.each(Object.keys(trials))(
  '%s: the administrator gets its own fields and nothing that is in a project',
  async (name) => {
    const { errors } = await tryField(name, { ...stranger, caller: { kind: 'ADMINISTRATOR' } });
    const [root = '', field = ''] = name.split('.');
    const type = schema.getType(root) as GraphQLObjectType;
    const isTheirs = type.getFields()[field]?.extensions['needs'] === 'ADMINISTRATOR';
    expect(new Set(errors.map(({ code }) => code))).toEqual(new Set(isTheirs ? [] : ['FORBIDDEN']));
    for (const { message } of errors) expect(message).toContain('The administrator belongs to no project');
  },
);

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
