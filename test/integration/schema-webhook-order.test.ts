import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addWebhook } from '../support/store-fixture.ts';

let fixture: SchemaFixture;
/** By the names that they were given. */
const ids: Record<string, WebhookId[]> = {};

const names = ['delta', 'alpha', 'charlie', 'alpha', 'bravo', 'alpha', 'echo'];

beforeAll(async () => {
  fixture = await openSchemaFixture();
  for (const [index, name] of names.entries()) {
    const id = await addWebhook(fixture, { name });
    (ids[name] ??= []).push(id);
    // The older they are, the later they changed; two of them at the same instant.
    const statusChangedAt = new Date(Date.UTC(2030, 0, 20 - Math.max(1, index)));
    await fixture.db.prisma.webhook.update({ where: { id: uuidOf(id) }, data: { statusChangedAt } });
  }
});
afterAll(async () => await fixture[Symbol.asyncDispose]());

const page = `query ($first: Int, $after: String, $last: Int, $before: String, $orderBy: WebhookOrder) {
  webhooks(first: $first, after: $after, last: $last, before: $before, orderBy: $orderBy) {
    edges { cursor node { id name } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

interface Edge {
  cursor: string;
  node: { id: WebhookId; name: string };
}

async function listPage(variables: object) {
  const { data, errors } = await fixture.run(page, variables);
  expect(errors).toEqual([]);
  return data.webhooks as { edges: Edge[]; pageInfo: Record<string, unknown> };
}

async function walk(orderBy: object, size: number, way: 'forward' | 'backward'): Promise<Edge[]> {
  const edges: Edge[] = [];
  for (let cursor: unknown = null, more = true; more;) {
    const forward = way === 'forward';
    const found = await listPage(
      forward ? { first: size, after: cursor, orderBy } : { last: size, before: cursor, orderBy },
    );
    if (forward) edges.push(...found.edges);
    else edges.unshift(...found.edges);
    cursor = forward ? found.pageInfo['endCursor'] : found.pageInfo['startCursor'];
    more = found.pageInfo[forward ? 'hasNextPage' : 'hasPreviousPage'] === true;
  }
  return edges;
}

function nodeIds(edges: readonly Edge[]): WebhookId[] {
  return edges.map(({ node }) => node.id);
}

describe('the order of webhooks', () => {
  test.each([
    ['NAME', ['alpha', 'alpha', 'alpha', 'bravo', 'charlie', 'delta', 'echo']],
    ['CREATED_AT', names],
    ['STATUS_CHANGED_AT', ['echo', 'alpha', 'bravo', 'alpha', 'charlie', 'delta', 'alpha']],
  ])('by %s is the same in every direction and page size, and each webhook comes once', async (field, expected) => {
    const ascending = await walk({ field, direction: 'ASC' }, 100, 'forward');
    expect(ascending.map(({ node }) => node.name)).toEqual(expected);
    for (const size of [1, 2, 3, 7]) {
      expect(nodeIds(await walk({ field, direction: 'ASC' }, size, 'forward'))).toEqual(nodeIds(ascending));
      expect(nodeIds(await walk({ field, direction: 'ASC' }, size, 'backward'))).toEqual(nodeIds(ascending));
      const descending = nodeIds(ascending).toReversed();
      expect(nodeIds(await walk({ field, direction: 'DESC' }, size, 'forward'))).toEqual(descending);
      expect(nodeIds(await walk({ field, direction: 'DESC' }, size, 'backward'))).toEqual(descending);
    }
  });

  test('lies between two cursors when both are given', async () => {
    const orderBy = { field: 'NAME', direction: 'ASC' };
    const { edges } = await listPage({ orderBy });
    const between = await listPage({ first: 100, after: edges[1]?.cursor, before: edges[5]?.cursor, orderBy });
    expect(nodeIds(between.edges)).toEqual(nodeIds(edges.slice(2, 5)));
  });

  test('keeps its cursors good when their row is deleted or renamed', async () => {
    const orderBy = { field: 'NAME', direction: 'ASC' };
    const [gone, renamed] = [
      await addWebhook(fixture, { name: 'bravo' }),
      await addWebhook(fixture, { name: 'bravo' }),
    ];
    const before = await listPage({ orderBy });
    const cursorOf = (id: WebhookId): string => before.edges.find(({ node }) => node.id === id)?.cursor ?? '';
    await fixture.db.prisma.webhook.update({ where: { id: uuidOf(renamed) }, data: { name: 'zulu' } });
    await fixture.db.prisma.webhook.delete({ where: { id: uuidOf(gone) } });
    for (const id of [gone, renamed]) {
      const { edges } = await listPage({ first: 2, after: cursorOf(id), orderBy });
      expect(edges.map(({ node }) => node.name)).toEqual(['charlie', 'delta']);
    }
    const { edges } = await listPage({ last: 1, before: cursorOf(gone), orderBy });
    expect(nodeIds(edges)).toEqual(ids['bravo']);
    await fixture.db.prisma.webhook.delete({ where: { id: uuidOf(renamed) } });
  });

  test.each([
    ['the default order', null],
    ['the other direction', { field: 'NAME', direction: 'DESC' }],
    ['another field', { field: 'STATUS_CHANGED_AT', direction: 'ASC' }],
  ])('refuses a cursor of %s as BAD_USER_INPUT that names the argument', async (_other, orderBy) => {
    const { edges } = await listPage({ first: 1, orderBy });
    const wanted = { field: 'NAME', direction: 'ASC' };
    const { errors } = await fixture.run(page, { after: edges[0]?.cursor, orderBy: wanted });
    expect(errors).toMatchObject([{ code: 'BAD_USER_INPUT' }]);
    expect(errors[0]?.message).toContain('after must be a cursor of the order NAME ASC');
  });

  test('refuses its own cursors in the default order', async () => {
    const { edges } = await listPage({ first: 1, orderBy: { field: 'NAME', direction: 'ASC' } });
    const { errors } = await fixture.run(page, { before: edges[0]?.cursor });
    expect(errors).toMatchObject([{ code: 'BAD_USER_INPUT' }]);
  });

  test.each([
    ['[1]'],
    ['["NAME","ASC","a\\u0000","0190163d-8694-739b-aea5-966c26f8ad91"]'],
    ['["NAME","ASC","a","no uuid"]'],
  ])('refuses the made-up cursor %s as BAD_USER_INPUT', async (text) => {
    const after = Buffer.from(text).toString('base64url');
    const { errors } = await fixture.run(page, { after, orderBy: { field: 'NAME', direction: 'ASC' } });
    expect(errors).toMatchObject([{ code: 'BAD_USER_INPUT' }]);
  });
});

describe('the last two of a list', () => {
  beforeAll(async () => {
    for (const name of ['one', 'two', 'three']) {
      await fixture.run(
        `mutation ($name: String!) {
          createApiKey(input: { name: $name, permissions: [VIEW_WEBHOOKS] }) { userErrors { message } }
          emitEvent(input: { type: "config.deployed" }) { userErrors { message } }
        }`,
        { name },
      );
    }
  });

  test.each([['webhooks'], ['apiKeys'], ['events'], ['deliveries']])(
    'of %s are the oldest, newest first',
    async (list) => {
      const { data, errors } = await fixture.run(`{
      all: ${list}(first: 100) { nodes { id } }
      last: ${list}(last: 2) { nodes { id } pageInfo { hasPreviousPage hasNextPage startCursor } }
    }`);
      expect(errors).toEqual([]);
      expect(data.last.nodes).toHaveLength(2);
      expect(data.last.nodes).toEqual(data.all.nodes.slice(-2));
      expect(data.last.pageInfo).toMatchObject({ hasPreviousPage: true, hasNextPage: false });
      const before = await fixture.run(
        `query ($before: String) { ${list}(last: 1, before: $before) { nodes { id } pageInfo { hasNextPage } } }`,
        { before: data.last.pageInfo.startCursor },
      );
      expect(before.data[list]).toEqual({ nodes: [data.all.nodes.at(-3)], pageInfo: { hasNextPage: true } });
    },
  );
});
