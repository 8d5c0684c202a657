import { buildSchema, execute, getIntrospectionQuery } from 'graphql';
import { createYoga, type Plugin } from 'graphql-yoga';
import { beforeEach, expect, test } from 'vitest';
import { useIntrospectionCache } from '../../src/gateway/introspection-cache.ts';

let executedCount = 0;
const countExecutions: Plugin = {
  onExecute: ({ setExecuteFn }) =>
    setExecuteFn((args) => {
      executedCount += 1;
      return execute(args);
    }),
};
const yoga = createYoga({
  schema: buildSchema('type Query { now: String }'),
  plugins: [countExecutions, useIntrospectionCache()],
  logging: false,
  maskedErrors: false,
});
beforeEach(() => {
  executedCount = 0;
});

async function ask(query: string, variables?: object): Promise<unknown> {
  const response = await yoga.fetch('http://localhost/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query, variables }),
  });
  return await response.json();
}

test('a document that asks for the schema is executed once, and answered alike ever after', async () => {
  const first = await ask(getIntrospectionQuery());
  expect(first).toMatchObject({ data: { __schema: { queryType: { name: 'Query' } } } });
  expect(await ask(getIntrospectionQuery())).toEqual(first);
  expect(await ask(getIntrospectionQuery())).toEqual(first);
  expect(executedCount).toBe(1);
});

test.each([
  ['asks for data', '{ now }', undefined],
  ['asks for data beside the schema', '{ now __schema { queryType { name } } }', undefined],
  ['hides data in a fragment', '{ ...F } fragment F on Query { now }', undefined],
  ['depends on variables', 'query ($name: String!) { __type(name: $name) { name } }', { name: 'Query' }],
  ['fails', '{ __type { name } }', undefined],
])('a document that %s is not answered from memory', async (_what, query, variables) => {
  const first = await ask(query, variables);
  const count = executedCount;
  expect(await ask(query, variables)).toEqual(first);
  expect(executedCount).toBe(2 * count);
});
