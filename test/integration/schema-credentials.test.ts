import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Caller, SchemaContext } from '../../schema/context.ts';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { createApiKey, findApiKey } from '../../src/store/api-keys.ts';
import { type Answer, openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addDelivery, addWebhook } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: SchemaFixture;
let administrator: SchemaContext;

beforeAll(async () => {
  fixture = await openSchemaFixture();
  administrator = { ...fixture.contextOf(fixture.projectId), caller: { kind: 'ADMINISTRATOR' } };
});
afterAll(async () => await fixture[Symbol.asyncDispose]());

/** The fixture's caller, changed. */
function contextOf(change: Partial<Caller>): SchemaContext {
  const context = fixture.contextOf(fixture.projectId);
  if (context.caller?.kind !== 'API_KEY') throw new Error('the fixture has no key');
  return { ...context, caller: { ...context.caller, ...change } };
}

function clean({ data, errors }: Answer, field: string) {
  expect(errors).toEqual([]);
  expect(data[field].userErrors).toEqual([]);
  return data[field];
}

async function makeKey(): Promise<string> {
  const input = { name: 'A', permissions, expiresAt: null };
  return idFromUuid('apiKey', (await createApiKey(fixture.db, fixture.projectId, input, testActor)).apiKey.id);
}

function claimsOf(token: string): Record<string, unknown> {
  return JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as Record<string, unknown>;
}

function secondsFromNow(expiresAt: string): number {
  return (Date.parse(expiresAt) - Date.now()) / 1000;
}

describe('createAccessToken', () => {
  const create = `mutation ($input: CreateAccessTokenInput!) {
    createAccessToken(input: $input) { token expiresAt userErrors { field message code } }
  }`;

  test('makes a token for an hour unless said otherwise, with each permission once', async () => {
    const input = { permissions: ['VIEW_WEBHOOKS', 'VIEW_WEBHOOKS'] };
    const { token, expiresAt } = clean(await fixture.run(create, { input }), 'createAccessToken');
    expect(Math.abs(secondsFromNow(expiresAt) - 3_600)).toBeLessThan(10);
    expect(claimsOf(token)).toMatchObject({ permissions: ['VIEW_WEBHOOKS'], exp: Date.parse(expiresAt) / 1000 });
  });

  test('ends with the asking key at the latest', async () => {
    const context = contextOf({ expiresAt: new Date(Date.now() + 120_000) });
    const input = { permissions: ['VIEW_WEBHOOKS'], expiresInSeconds: 86_400 };
    const { expiresAt } = clean(await fixture.run(create, { input }, context), 'createAccessToken');
    expect(secondsFromNow(expiresAt)).toBeLessThanOrEqual(120);
  });

  test.each([
    [{ permissions: [] }, ['permissions'], 'INVALID_PERMISSIONS'],
    [{ permissions: ['VIEW_WEBHOOKS', 'EMIT_EVENTS'] }, ['permissions', '1'], 'PERMISSION_NOT_HELD'],
    [{ permissions: ['VIEW_WEBHOOKS'], expiresInSeconds: 59 }, ['expiresInSeconds'], 'INVALID_EXPIRES_IN'],
    [{ permissions: ['VIEW_WEBHOOKS'], expiresInSeconds: 86_401 }, ['expiresInSeconds'], 'INVALID_EXPIRES_IN'],
  ])('refuses %j', async (input, path, code) => {
    const context = contextOf({ permissions: new Set(['VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS']) });
    const { data, errors } = await fixture.run(create, { input }, context);
    expect(errors).toEqual([]);
    const userErrors = [{ field: ['input', ...path], code }];
    expect(data.createAccessToken).toMatchObject({ token: null, expiresAt: null, userErrors });
  });
});

test('an access token with every permission makes and revokes no credential', async () => {
  const token = contextOf({ kind: 'ACCESS_TOKEN', expiresAt: new Date(Date.now() + 60_000) });
  const id = await makeKey();
  for (const call of [
    'createAccessToken(input: { permissions: [VIEW_WEBHOOKS] })',
    'createApiKey(input: { name: "A", permissions: [VIEW_WEBHOOKS] })',
    `revokeApiKey(input: { id: "${id}" })`,
  ]) {
    const { errors } = await fixture.run(`mutation { ${call} { userErrors { code } } }`, {}, token);
    const message = 'An access token cannot make or revoke credentials: this needs an API key.';
    expect(errors).toEqual([{ code: 'FORBIDDEN', message }]);
  }
  expect((await fixture.run('{ project { id } }', {}, token)).data.project.id).toBe(fixture.projectId);
});

test('what an access token changes is audited as the token’s, with the key that made it', async () => {
  const apiKeyId = await makeKey();
  const token = contextOf({ kind: 'ACCESS_TOKEN', apiKeyId: apiKeyId as Caller['apiKeyId'] });
  const webhookId = await addWebhook(fixture);
  await fixture.run(`mutation { pauseWebhook(input: { id: "${webhookId}" }) { userErrors { code } } }`, {}, token);
  const { data } = await fixture.run('{ auditEntries(first: 1) { nodes { actorKind action apiKey { id } } } }');
  expect(data.auditEntries.nodes).toEqual([
    { actorKind: 'ACCESS_TOKEN', action: 'pauseWebhook', apiKey: { id: apiKeyId } },
  ]);
});

describe('revokeApiKey', () => {
  const revoke = `mutation ($id: ID!) {
    revokeApiKey(input: { id: $id }) { apiKey { id revokedAt } userErrors { field message code } }
  }`;

  test('revokes, tells this process to forget the key, and changes nothing the second time', async () => {
    const id = await makeKey();
    const { apiKey } = clean(await fixture.run(revoke, { id }), 'revokeApiKey');
    expect(apiKey).toEqual({ id, revokedAt: expect.any(String) });
    expect(fixture.forgotten).toContain(id);
    expect(clean(await fixture.run(revoke, { id }), 'revokeApiKey').apiKey).toEqual(apiKey);
  });

  test.each(['nonsense', 'wh_01h455vb4pex5vsknk084sn02q', 'key_01h455vb4pex5vsknk084sn02q'])(
    'of %s is NOT_FOUND',
    async (id) => {
      const { data } = await fixture.run(revoke, { id });
      const message = `No API key with id "${id}".`;
      expect(data.revokeApiKey).toEqual({
        apiKey: null,
        userErrors: [{ field: ['input', 'id'], message, code: 'NOT_FOUND' }],
      });
    },
  );
});

describe('the administrator', () => {
  test('makes a project whose first key may do everything there', async () => {
    const document = `mutation { createProject(input: { name: "New" }) {
      project { id name } apiKey { id permissions } key userErrors { code }
    } }`;
    const { project, apiKey, key } = clean(await fixture.run(document, {}, administrator), 'createProject');
    expect(project.name).toBe('New');
    expect(apiKey.permissions).toEqual([...permissions]);
    expect(await findApiKey(fixture.db, key)).toMatchObject({ apiKeyId: apiKey.id, projectId: project.id });
  });

  test('retries what is stuck, and no more than the limit', async () => {
    const webhookId = await addWebhook(fixture);
    const claimedAt = new Date(Date.now() - 600_000);
    await addDeliveries(fixture, webhookId, 3, { status: 'DELIVERING', claimedAt, dueAt: claimedAt });
    const retry =
      'mutation ($input: RetryStuckDeliveriesInput!) { retryStuckDeliveries(input: $input) { enqueuedCount userErrors { code } } }';
    const run = async (input: object) =>
      clean(await fixture.run(retry, { input }, administrator), 'retryStuckDeliveries').enqueuedCount;
    expect(await run({ limit: 2 })).toBe(2);
    expect(await run({})).toBe(3);
  });

  test('removes history that is older than the days, and nothing that has not ended', async () => {
    const webhookId = await addWebhook(fixture);
    const old = await addDelivery(fixture, webhookId, { status: 'DELIVERED', finishedAt: new Date('2020-01-01') });
    const open = await addDelivery(fixture, webhookId);
    // A cleanup goes by ids, which say when they were made.
    await fixture.db.pipeline.query(
      `with moved as (select id, posthorn_uuid_at(now() - row_number() over (order by id) * interval '40 days') as at
        from deliveries where id = any($1::uuid[])),
      events_moved as (update events e set id = m.at from deliveries d join moved m on m.id = d.id where d.event_id = e.id)
      update deliveries d set id = m.at, event_id = m.at from moved m where d.id = m.id`,
      [[uuidOf(old), uuidOf(open)]],
    );
    const cleanup = `mutation ($input: CleanupDeliveriesInput!) { cleanupDeliveries(input: $input) {
      eventCount deliveryCount attemptCount finished userErrors { code }
    } }`;
    const run = async (input: object) =>
      clean(await fixture.run(cleanup, { input }, administrator), 'cleanupDeliveries');
    const nothing = { eventCount: 0, deliveryCount: 0, attemptCount: 0, finished: true };
    expect(await run({ olderThanDays: 90 })).toMatchObject(nothing);
    expect(await run({})).toMatchObject({ ...nothing, eventCount: 1, deliveryCount: 1 });
    const left = await fixture.db.prisma.delivery.count({ where: { webhookId: uuidOf(webhookId) } });
    expect(left).toBe(1);
  });

  test('has to say how old where history is kept for ever', async () => {
    const administration = { ...administrator.administration, retentionDays: null };
    const cleanup = 'mutation { cleanupDeliveries(input: {}) { finished userErrors { code message } } }';
    const { data } = await fixture.run(cleanup, {}, { ...administrator, administration });
    expect(data.cleanupDeliveries).toEqual({
      finished: null,
      userErrors: [{ code: 'INVALID_DAYS', message: 'olderThanDays must be 1 to 3,650, not null.' }],
    });
  });

  test.each([
    ['createProject(input: { name: " " }) { key', 'name', 'INVALID_NAME'],
    ['retryStuckDeliveries(input: { limit: 0 }) { enqueuedCount', 'limit', 'INVALID_LIMIT'],
    ['retryStuckDeliveries(input: { limit: 10001 }) { enqueuedCount', 'limit', 'INVALID_LIMIT'],
    ['cleanupDeliveries(input: { olderThanDays: 0 }) { eventCount', 'olderThanDays', 'INVALID_DAYS'],
    ['cleanupDeliveries(input: { olderThanDays: 3651 }) { finished', 'olderThanDays', 'INVALID_DAYS'],
  ])('gets a clear refusal of %s', async (call, field, code) => {
    const document = `mutation { ${call} userErrors { field code } } }`;
    const { data, errors } = await fixture.run(document, {}, administrator);
    expect(errors).toEqual([]);
    const [{ userErrors, ...rest }] = Object.values(data) as [{ userErrors: object[] }];
    expect(userErrors).toEqual([{ field: ['input', field], code }]);
    expect(Object.values(rest)).toEqual([null]);
  });
});
