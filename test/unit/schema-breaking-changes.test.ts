import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { findBreakingChanges } from '../../schema/breaking-changes.ts';

const released = `
  type Query { webhook(id: ID!): Webhook! webhooks(first: Int): [Webhook!]! }
  type Webhook { id: ID! name: String! status: Status! }
  enum Status { ACTIVE PAUSED }
  input Filter { name: String }
  type Mutation { create(input: Filter!): Webhook! }
`;

/** What breaks when one piece of the released schema is replaced. */
async function changing(before: string, after: string): Promise<string[]> {
  expect(released).toContain(before);
  return await findBreakingChanges(released, released.replace(before, after));
}

async function read(file: string): Promise<string> {
  return await readFile(new URL(`../../schema/${file}`, import.meta.url), 'utf8');
}

test('schema.graphql breaks no client of released.graphql', async () => {
  expect(await findBreakingChanges(await read('released.graphql'), await read('schema.graphql'))).toEqual([]);
});

test.each([
  [
    'a field that is gone',
    'name: String! status',
    'status',
    "Webhook.name: Field 'name' was removed from object type 'Webhook'.",
  ],
  [
    'a type that may now be null',
    'status: Status!',
    'status: Status',
    "Webhook.status: Field 'Webhook.status' changed type from 'Status!' to 'Status'.",
  ],
  [
    'an argument that must now be given',
    'first: Int',
    'first: Int!',
    "Query.webhooks.first: Type for argument 'first' on field 'Query.webhooks' changed from 'Int' to 'Int!'.",
  ],
  [
    'a new argument that must be given',
    'webhooks(first: Int)',
    'webhooks(first: Int, of: ID!)',
    "Query.webhooks.of: Argument 'of: ID!' added to field 'Query.webhooks'.",
  ],
  [
    'an argument that is gone',
    'webhooks(first: Int)',
    'webhooks',
    "Query.webhooks.first: Argument 'first: Int' was removed from field 'Query.webhooks'.",
  ],
  [
    'an input field that must now be given',
    'name: String }',
    'name: String! }',
    "Filter.name: Input field 'Filter.name' changed type from 'String' to 'String!'.",
  ],
  [
    'an enum value that is gone',
    'ACTIVE PAUSED',
    'ACTIVE',
    "Status.PAUSED: Enum value 'PAUSED' was removed from enum 'Status'.",
  ],
])('%s is reported in one sentence', async (_what, before, after, sentence) => {
  expect(await changing(before, after)).toEqual([sentence]);
});

test.each([
  ['a description', 'type Webhook', '"A URL." type Webhook'],
  ['a new field', 'name: String! status', 'name: String! url: String status'],
  ['a new argument that may be left out', 'webhooks(first: Int)', 'webhooks(first: Int, after: String)'],
  ['a deprecation', 'status: Status!', 'status: Status! @deprecated(reason: "Ask for state.")'],
])('%s breaks nobody', async (_what, before, after) => {
  expect(await changing(before, after)).toEqual([]);
});
