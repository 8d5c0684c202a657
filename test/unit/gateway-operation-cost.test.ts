import * as fc from 'fast-check';
import { buildSchema, getIntrospectionQuery, getOperationAST, getVariableValues, Kind, parse, validate } from 'graphql';
import { describe, expect, test } from 'vitest';
import { schema as posthorn } from '../../schema/index.ts';
import { operationCost } from '../../src/gateway/operation-cost.ts';
import type { GraphQLSchema } from 'graphql';

function costIn(schema: GraphQLSchema, text: string, variables: Record<string, unknown> = {}): number {
  const document = parse(text);
  expect(validate(schema, document)).toEqual([]);
  const operation = getOperationAST(document);
  if (!operation) throw new Error('no operation');
  const { coerced, errors } = getVariableValues(schema, operation.variableDefinitions ?? [], variables);
  expect(errors).toBeUndefined();
  return operationCost({ schema, document, operation, variables: coerced ?? {} });
}

const cost = (text: string, variables?: Record<string, unknown>): number => costIn(posthorn, text, variables);

const statistics =
  '{ deliveryStats { counts { total } } webhooks(first: 10) { nodes { stats { counts { total } } } } }';

describe('an operation costs', () => {
  test.each([
    ['1 at the least', '{ __typename }', 1],
    ['1 for an object, nothing for its own values', '{ project { id name createdAt } }', 1],
    ['20 and 1 for a page that has no size', '{ webhooks { nodes { id name } } }', 21],
    ['as many as a page may have', '{ webhooks(first: 100) { nodes { id } } }', 101],
    ['as much for a page from the end', '{ webhooks(last: 7) { nodes { id } } }', 8],
    ['as much for edges as for nodes', '{ webhooks(first: 7) { edges { cursor node { id } } } }', 8],
    ['each cursor that is asked for alone', '{ webhooks(first: 7) { edges { cursor } } }', 8],
    ['1 for where the page lies', '{ webhooks(first: 7) { pageInfo { hasNextPage } } }', 2],
    ['50 for counting', '{ webhooks(first: 0) { totalCount } }', 51],
    ['50 for statistics, and 20 for those of each webhook', statistics, 51 + 1 + 10 * 22],
    ['20 for each body, which is up to 256 KiB', '{ events(first: 5) { nodes { id a: body b: data } } }', 1 + 5 * 41],
    [
      '1 for a plain value under another name, which can be asked for again and again',
      '{ deliveries(first: 5) { nodes { lastAttempt { responseBody a: responseBody b: responseBody } } } }',
      1 + 5 * (1 + 1 + 2),
    ],
    ['2 for each schema, which is up to 32 KiB', '{ eventTypes(first: 5) { nodes { schema } } }', 1 + 5 * 3],
    ['what is in a page for each of it', '{ deliveries(first: 50) { nodes { webhook { id } event { type } } } }', 151],
    [
      'the product of pages in pages',
      '{ webhooks(first: 10) { nodes { deliveries(first: 5) { nodes { id } } } } }',
      1 + 10 * (1 + 1 + 5),
    ],
    [
      '10 for a mutation, and 1 for what it gives',
      'mutation { pauseWebhook(input: { id: "x" }) { webhook { id } } }',
      11,
    ],
    ['little for an event', 'mutation { emitEvent(input: { type: "a" }) { event { id } userErrors { code } } }', 3],
    ['10 for a subscription, and an item', 'subscription { deliveryFeed { cursor delivery { status } } }', 11],
    ['4,000 for the whole schema', '{ __schema { types { name fields { name } } } }', 4_000],
    ['100 for a type of it', '{ __type(name: "Query") { name } }', 100],
  ])('%s', (_what, text, expected) => {
    expect(cost(text)).toBe(expected);
  });

  test('by each id that nodes is asked for, in variables and literally', () => {
    const query = 'query ($ids: [ID!]!) { nodes(ids: $ids) { id ... on Delivery { webhook { id } } } }';
    expect(cost(query, { ids: Array.from({ length: 100 }, String) })).toBe(200);
    expect(cost(query, { ids: 'one' })).toBe(2);
    expect(cost('{ nodes(ids: ["a", "b"]) { id } }')).toBe(2);
  });

  test('by each object in a list of its input', () => {
    const mutation = 'mutation ($input: CreateWebhookInput!) { createWebhook(input: $input) { secret } }';
    const input = { name: 'n', url: 'https://example.com', eventTypes: ['*', 'a'] };
    const headers = Array.from({ length: 20 }, (_, index) => ({ name: `x-${index}`, value: 'v' }));
    expect(cost(mutation, { input })).toBe(10);
    expect(cost(mutation, { input: { ...input, headers } })).toBe(30);
  });

  test('by the value that a variable has, or that it has by default', () => {
    const query = 'query ($first: Int = 5) { webhooks(first: $first) { nodes { id } } }';
    expect(cost(query)).toBe(6);
    expect(cost(query, { first: 50 })).toBe(51);
    expect(cost(query, { first: null })).toBe(21);
  });

  test('no more for a page above the limit than for the largest: its field refuses it', () => {
    expect(cost('{ webhooks(first: 2147483647) { nodes { id } } }')).toBe(101);
    expect(cost('{ webhooks(first: -5) { nodes { id } } }')).toBe(21);
  });

  test('the same whether a selection stands there or in a fragment, which costs on each page its own', () => {
    const written = '{ webhooks(first: 3) { nodes { id } } more: webhooks(first: 90) { nodes { id } } }';
    const spread = `{ webhooks(first: 3) { ...F } more: webhooks(first: 90) { ... on WebhookConnection { ...F } } }
      fragment F on WebhookConnection { nodes { id } }`;
    expect(cost(written)).toBe(95);
    expect(cost(spread)).toBe(95);
  });

  test('the whole introspection query what the schema costs', () => {
    expect(cost(getIntrospectionQuery())).toBe(4_000);
  });
});

test('pages in pages and fragments in fragments cost no more than the largest whole number, and are measured at once', () => {
  const schema = buildSchema(`
    type Query { list(first: Int): ListConnection! }
    type ListConnection { nodes: [Query!]! edges: [Edge!]! pageInfo: PageInfo! }
    type Edge { node: Query! }
    type PageInfo { hasNextPage: Boolean! }
  `);
  const deep = `{ ${'list(first: 100) { nodes { '.repeat(200)} __typename ${'} }'.repeat(200)} }`;
  expect(costIn(schema, deep)).toBe(Number.MAX_SAFE_INTEGER);
  const doubling = Array.from({ length: 200 }, (_, index) => {
    const next = index === 199 ? '__typename' : `...F${index + 1} ... on Query { ...F${index + 1} }`;
    return `fragment F${index} on Query { list(first: 1) { nodes { ${next} } } }`;
  });
  expect(costIn(schema, `{ ...F0 } ${doubling.join(' ')}`)).toBe(Number.MAX_SAFE_INTEGER);
});

test('whatever the variables are, the cost is a whole number from 1', () => {
  const document = parse(`query ($a: Int, $b: [ID!]!) {
    webhooks(first: $a, last: $a) { nodes { id } } nodes(ids: $b) { id }
  }`);
  const operation = document.definitions.find((definition) => definition.kind === Kind.OPERATION_DEFINITION);
  if (!operation) throw new Error('no operation');
  fc.assert(
    fc.property(fc.anything({ withNullPrototype: true }), fc.anything(), (a, b) => {
      const points = operationCost({ schema: posthorn, document, operation, variables: { a, b } });
      expect(Number.isSafeInteger(points) && points >= 1).toBe(true);
    }),
  );
});
