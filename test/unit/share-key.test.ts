import { parse } from 'graphql';
import { createSchema } from 'graphql-yoga';
import { expect, test } from 'vitest';
import { shareKey } from '../../src/gateway/share-key.ts';
import type { Caller } from '../../schema/context.ts';

const schema = createSchema({
  typeDefs: /* GraphQL */ `
    type Query {
      hello: String
    }
    type Subscription {
      watch(after: String, filter: String): Item
    }
    type Item {
      at(after: String): String
    }
  `,
});
const shared = 'subscription ($after: String, $filter: String) { watch(after: $after, filter: $filter) { at } }';

function callerOf(projectId: string, ...permissions: string[]): Caller {
  return { projectId, permissions: new Set(permissions) } as unknown as Caller;
}

function keyOf(query: string, variableValues: Record<string, unknown>, caller = callerOf('prj_1', 'VIEW_WEBHOOKS')) {
  return shareKey({ schema, document: parse(query), variableValues }, caller, 'after');
}

test('where to start makes no difference', () => {
  expect(keyOf(shared, { after: 'a', filter: 'f' })).toBe(keyOf(shared, { after: 'b', filter: 'f' }));
  expect(keyOf(shared, { filter: 'f', unknown: 1 })).toBe(keyOf(shared, { after: null, filter: 'f' }));
});

test('other variables, other text, other projects and other permissions make one', () => {
  const key = keyOf(shared, { filter: 'f' });
  const viewerAndMore = callerOf('prj_1', 'VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS');
  const others = [
    keyOf(shared, { filter: 'g' }),
    keyOf(shared, {}),
    keyOf(shared, { filter: null }),
    keyOf(`${shared} `, { filter: 'f' }),
    keyOf(shared, { filter: 'f' }, callerOf('prj_2', 'VIEW_WEBHOOKS')),
    keyOf(shared, { filter: 'f' }, viewerAndMore),
    keyOf(shared, { filter: 'f' }, callerOf('prj_1')),
  ];
  expect(new Set([key, ...others]).size).toBe(others.length + 1);
  const sorted = callerOf('prj_1', 'MANAGE_WEBHOOKS', 'VIEW_WEBHOOKS');
  expect(keyOf(shared, { filter: 'f' }, sorted)).toBe(keyOf(shared, { filter: 'f' }, viewerAndMore));
});

test('a start that something else reads as well makes a difference', () => {
  const inItem = 'subscription ($after: String) { watch(after: $after) { at(after: $after) } }';
  expect(keyOf(inItem, { after: 'a' })).not.toBe(keyOf(inItem, { after: 'b' }));
  const inFragment =
    'subscription ($after: String) { watch(after: $after) { ...Place } } fragment Place on Item { at(after: $after) }';
  expect(keyOf(inFragment, { after: 'a' })).not.toBe(keyOf(inFragment, { after: 'b' }));
});
