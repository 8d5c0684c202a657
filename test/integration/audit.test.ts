import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { SchemaContext } from '../../schema/context.ts';
import { schema } from '../../schema/index.ts';
import { type ApiKeyId, idFromUuid, parseId, uuidOf } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { createApiKey, revokeApiKey } from '../../src/store/api-keys.ts';
import type { Actor } from '../../src/store/audit.ts';
import { cancelDelivery } from '../../src/store/cancel-delivery.ts';
import { emitTest } from '../../src/store/emit-test.ts';
import { newId } from '../../src/store/new-id.ts';
import { createProjectWithKey } from '../../src/store/projects.ts';
import { resendDelivery } from '../../src/store/resend-delivery.ts';
import { rotateWebhookSecret } from '../../src/store/webhook-secrets.ts';
import { pauseWebhook, resumeWebhook } from '../../src/store/webhook-status.ts';
import { createWebhook, deleteWebhook, updateWebhook } from '../../src/store/webhooks.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDelivery, addWebhook, plainWebhook, readDelivery } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: SchemaFixture;
let apiKeyId: ApiKeyId;
/** As a key of the project that really exists. */
let asKey: SchemaContext;

beforeAll(async () => {
  fixture = await openSchemaFixture();
  const input = { name: 'Auditor', permissions, expiresAt: null };
  const { apiKey } = await createApiKey(fixture.db, fixture.projectId, input, testActor);
  apiKeyId = idFromUuid('apiKey', apiKey.id);
  const context = fixture.contextOf(fixture.projectId);
  if (context.caller?.kind !== 'API_KEY') throw new Error('the fixture has no key');
  // No worker is here to answer a test: it is waited for for 50 ms.
  const settings = { ...context.settings, attemptTimeoutMs: -4_950 };
  asKey = { ...context, settings, caller: { ...context.caller, apiKeyId } };
});
afterAll(async () => await fixture[Symbol.asyncDispose]());

const countEntries = async (): Promise<number> => await fixture.db.prisma.auditEntry.count();

async function latestEntry() {
  return await fixture.db.prisma.auditEntry.findFirstOrThrow({ orderBy: { id: 'desc' } });
}

interface Change {
  /** Fields of the input, as GraphQL text. */
  input: () => Promise<string>;
  /** The payload's field that is what was changed. */
  target: string;
  as?: 'ADMINISTRATOR';
  /** The codes of what is not as wished although the change was made. */
  userErrors?: string[];
}

/** Every mutation that changes something: how to make it do so. */
const changes: Record<string, Change> = {
  createWebhook: { input: async () => 'name: "A", url: "https://example.com/"', target: 'webhook' },
  updateWebhook: { input: async () => `id: "${await addWebhook(fixture)}", name: "B"`, target: 'webhook' },
  deleteWebhook: { input: async () => `id: "${await addWebhook(fixture)}"`, target: 'webhook' },
  pauseWebhook: { input: async () => `id: "${await addWebhook(fixture)}"`, target: 'webhook' },
  resumeWebhook: { input: async () => `id: "${await pausedWebhook()}"`, target: 'webhook' },
  rotateWebhookSecret: { input: async () => `id: "${await addWebhook(fixture)}"`, target: 'webhook' },
  testWebhook: {
    input: async () => `id: "${await addWebhook(fixture)}"`,
    target: 'delivery { webhook',
    userErrors: ['TEST_PENDING'],
  },
  resendDelivery: { input: async () => `id: "${await delivery('FAILED')}"`, target: 'delivery' },
  cancelDelivery: { input: async () => `id: "${await delivery('PENDING')}"`, target: 'delivery' },
  upsertEventType: { input: async () => 'name: "audited.upserted"', target: 'eventType' },
  deleteEventType: { input: async () => `id: "${await eventType()}"`, target: 'eventType' },
  replayEvent: { input: async () => await replay(), target: 'delivery' },
  recoverDeliveries: { input: async () => 'since: "2026-01-01T00:00:00Z"', target: 'recovery' },
  cancelRecovery: { input: async () => `id: "${await running()}"`, target: 'recovery' },
  createApiKey: { input: async () => 'name: "A", permissions: [VIEW_WEBHOOKS]', target: 'apiKey' },
  revokeApiKey: { input: async () => `id: "${await otherKey()}"`, target: 'apiKey' },
  createAccessToken: { input: async () => 'permissions: [VIEW_WEBHOOKS]', target: '' },
  createProject: { input: async () => 'name: "A"', target: 'project', as: 'ADMINISTRATOR' },
};

/** Mutations that leave no entry, and why. */
const exempt: Record<string, string> = {
  emitEvent: 'events are their own record',
  emitEvents: 'events are their own record',
  retryStuckDeliveries: 'it hints the workers, and changes nothing',
  cleanupDeliveries: 'it is of no project: what a person starts here happens by the clock as well',
};

async function pausedWebhook(): Promise<string> {
  const id = await addWebhook(fixture);
  await pauseWebhook(fixture.db, fixture.projectId, id, testActor);
  return id;
}

async function delivery(status: 'FAILED' | 'PENDING'): Promise<string> {
  return await addDelivery(fixture, await addWebhook(fixture), { status });
}

async function otherKey(): Promise<string> {
  const input = { name: 'Other', permissions, expiresAt: null };
  const { apiKey } = await createApiKey(fixture.db, fixture.projectId, input, testActor);
  return idFromUuid('apiKey', apiKey.id);
}

async function replay(): Promise<string> {
  const webhookId = await addWebhook(fixture);
  const { event } = await fixture.db.prisma.delivery.findUniqueOrThrow({
    where: { id: uuidOf(parseId('delivery', await addDelivery(fixture, webhookId, { status: 'FAILED' }))) },
    select: { event: { select: { id: true } } },
  });
  return `eventId: "${idFromUuid('event', event.id)}", webhookId: "${webhookId}"`;
}

async function eventType(): Promise<string> {
  const document = 'mutation { upsertEventType(input: { name: "audited.deleted" }) { eventType { id } } }';
  return (await fixture.run(document, {}, asKey)).data.upsertEventType.eventType.id;
}

async function running(): Promise<string> {
  const document = 'mutation { recoverDeliveries(input: { since: "2026-01-01T00:00:00Z" }) { recovery { id } } }';
  return (await fixture.run(document, {}, asKey)).data.recoverDeliveries.recovery.id;
}

const mutationNames = Object.keys(schema.getMutationType()?.getFields() ?? {});

test('every mutation of the schema is either audited or exempt by name', () => {
  const known = new Set([...Object.keys(changes), ...Object.keys(exempt)]);
  expect(mutationNames.filter((name) => !known.has(name))).toEqual([]);
});

/** The id that the payload gives at a path such as `delivery { webhook`. */
function idAt(payload: unknown, path: string): unknown {
  let value = payload;
  for (const field of [...path.split(' { '), 'id']) value = (value as Record<string, unknown>)[field];
  return value;
}

describe.each(Object.entries(changes))('%s', (name, { input, target, as, userErrors = [] }) => {
  test('leaves one entry that says who changed what, and in which request', async () => {
    const fields = await input();
    const before = await countEntries();
    const selection = target === '' ? '' : `${target} { id ${'}'.repeat(target.split('{').length)}`;
    const document = `mutation { ${name}(input: { ${fields} }) { ${selection} userErrors { code } } }`;
    const caller = as === 'ADMINISTRATOR' ? { kind: as } : asKey.caller;
    const { data, errors } = await fixture.run(document, {}, { ...asKey, caller, requestId: `of ${name}` });
    expect(errors).toEqual([]);
    expect(data[name].userErrors.map(({ code }: { code: string }) => code)).toEqual(userErrors);
    expect(await countEntries()).toBe(before + 1);
    const changed = target === '' ? apiKeyId : idAt(data[name], target);
    expect(await latestEntry()).toMatchObject({
      action: name,
      requestId: `of ${name}`,
      actorKind: as ?? 'API_KEY',
      apiKeyId: as === undefined ? uuidOf(apiKeyId) : null,
      targetId: changed,
      projectId: uuidOf(name === 'createProject' ? parseId('project', String(changed)) : fixture.projectId),
    });
  });
});

test('what is refused, not found or already so leaves no entry', async () => {
  const active = await addWebhook(fixture);
  const paused = await pausedWebhook();
  const ended = await delivery('FAILED');
  const revoked = await otherKey();
  const revoke = `mutation { revokeApiKey(input: { id: "${revoked}" }) { userErrors { code } } }`;
  await fixture.run(revoke, {}, asKey);
  const before = await countEntries();
  const calls = [
    'createWebhook(input: { name: "", url: "nonsense" })',
    `updateWebhook(input: { id: "${newId('webhook')}", name: "B" })`,
    `updateWebhook(input: { id: "${active}", url: "nonsense" })`,
    `deleteWebhook(input: { id: "${newId('webhook')}" })`,
    `pauseWebhook(input: { id: "${paused}" })`,
    `resumeWebhook(input: { id: "${active}" })`,
    `rotateWebhookSecret(input: { id: "${newId('webhook')}" })`,
    `testWebhook(input: { id: "${newId('webhook')}" })`,
    `resendDelivery(input: { id: "${newId('delivery')}" })`,
    `cancelDelivery(input: { id: "${ended}" })`,
    'createApiKey(input: { name: "A", permissions: [] })',
    `revokeApiKey(input: { id: "${newId('apiKey')}" })`,
    `revokeApiKey(input: { id: "${revoked}" })`,
    'createAccessToken(input: { permissions: [] })',
  ];
  for (const call of calls) {
    expect((await fixture.run(`mutation { ${call} { userErrors { code } } }`, {}, asKey)).errors).toEqual([]);
  }
  expect(await countEntries()).toBe(before);
});

/** All that a change could have changed. */
async function everything(): Promise<unknown> {
  const { rows } = await fixture.db.pipeline.query(`select
    (select json_agg(w order by id) from webhooks w) as webhooks,
    (select json_agg(s order by id) from webhook_secrets s) as secrets,
    (select json_agg(d order by id) from deliveries d) as deliveries,
    (select json_agg(e order by id) from events e) as events,
    (select json_agg(k order by id) from api_keys k) as keys,
    (select json_agg(p order by id) from projects p) as projects,
    (select count(*) from audit_entries) as entries`);
  return rows[0];
}

describe('a change whose entry cannot be written', () => {
  // A kind that the database does not know: the entry is refused after the change was made, in its transaction.
  const unwritable = { kind: 'NOBODY', apiKeyId: null, requestId: null } as unknown as Actor;

  test('is not made either, whichever it is', async () => {
    const { db, secretBox, projectId } = fixture;
    const webhookId = await addWebhook(fixture);
    const pausedId = await addWebhook(fixture);
    await pauseWebhook(db, projectId, pausedId, testActor);
    const failedId = await addDelivery(fixture, webhookId, { status: 'FAILED' });
    const pendingId = await addDelivery(fixture, webhookId);
    const key = { name: 'A', permissions, expiresAt: null };
    const testEvent = {
      projectId,
      type: 'posthorn.test',
      data: {},
      idempotencyKey: null,
      occurredAt: new Date(),
      deliverAt: null,
      testWebhookId: webhookId,
    };
    const attempts: (() => Promise<unknown>)[] = [
      async () => await createWebhook(db, secretBox, projectId, { ...plainWebhook, actor: unwritable }),
      async () =>
        await updateWebhook(db, secretBox, projectId, { webhookId, changes: { name: 'B' }, actor: unwritable }),
      async () => await deleteWebhook(db, projectId, webhookId, unwritable),
      async () => await pauseWebhook(db, projectId, webhookId, unwritable),
      async () => await resumeWebhook(db, projectId, pausedId, unwritable),
      async () =>
        await rotateWebhookSecret(db, secretBox, projectId, { webhookId, overlapSeconds: 0, actor: unwritable }),
      async () =>
        await resendDelivery(db, projectId, failedId, { defaultMaxAttempts: 6, claimLeaseMs: 1, actor: unwritable }),
      async () => await cancelDelivery(db, projectId, pendingId, unwritable),
      async () => await createApiKey(db, projectId, key, unwritable),
      async () => await revokeApiKey(db, projectId, apiKeyId, unwritable),
      async () => await createProjectWithKey(db, { name: 'A', keyName: 'A', actor: unwritable }),
      async () => await emitTest(db, { maxAttempts: 6 }, testEvent, unwritable),
    ];
    const before = await everything();
    for (const attempt of attempts) await expect(attempt()).rejects.toThrow(/NOBODY|actorKind|audit_actor_kind/);
    expect(await everything()).toEqual(before);
    expect(await readDelivery(fixture, pendingId)).toMatchObject({ status: 'PENDING' });
  });
});

describe('auditEntries', () => {
  const list = `query ($first: Int, $after: String, $filter: AuditEntryFilter) {
    auditEntries(first: $first, after: $after, filter: $filter) {
      nodes { id actorKind action targetId requestId createdAt apiKey { id name } }
      pageInfo { hasNextPage endCursor } totalCount
    }
  }`;

  test('gives the entries of the project, newest first, with the key that asked, in pages', async () => {
    await fixture.run(
      'mutation { createApiKey(input: { name: "Paged", permissions: [VIEW_WEBHOOKS] }) { key } }',
      {},
      asKey,
    );
    const { data, errors } = await fixture.run(list, { first: 1 });
    expect(errors).toEqual([]);
    const [entry] = data.auditEntries.nodes;
    expect(entry).toMatchObject({
      id: expect.stringMatching(/^aud_/),
      actorKind: 'API_KEY',
      action: 'createApiKey',
      targetId: expect.stringMatching(/^key_/),
      requestId: 'test',
      apiKey: { id: apiKeyId, name: 'Auditor' },
    });
    const { endCursor } = data.auditEntries.pageInfo;
    const next = await fixture.run(list, { first: 1, after: endCursor });
    expect(next.data.auditEntries.nodes[0].id < entry.id).toBe(true);
    const node = await fixture.run('query ($id: ID!) { node(id: $id) { ... on AuditEntry { id action } } }', entry);
    expect(node.data.node).toEqual({ id: entry.id, action: 'createApiKey' });
  });

  test('reads a page and its keys in two statements, however long the page is', async () => {
    fixture.statements.length = 0;
    const { data } = await fixture.run(`{ auditEntries(first: 50) { nodes { action apiKey { name } } } }`);
    expect(data.auditEntries.nodes.length).toBeGreaterThan(10);
    expect(fixture.statements).toHaveLength(2);
  });

  test('is narrowed by action, key, target and time', async () => {
    const webhookId = await addWebhook(fixture);
    const pause = `mutation { pauseWebhook(input: { id: "${webhookId}" }) { webhook { id } } }`;
    await fixture.run(pause, {}, asKey);
    const actionsOf = async (filter: object): Promise<string[]> => {
      const { data } = await fixture.run(list, { filter });
      return data.auditEntries.nodes.map(({ action }: { action: string }) => action);
    };
    expect(await actionsOf({ targetIds: [webhookId] })).toEqual(['pauseWebhook', 'createWebhook']);
    expect(await actionsOf({ targetIds: [webhookId], apiKeyIds: [apiKeyId] })).toEqual(['pauseWebhook']);
    expect(await actionsOf({ targetIds: [webhookId], actions: ['createWebhook'] })).toEqual(['createWebhook']);
    expect(await actionsOf({ actions: ['\0'] })).toEqual([]);
    expect(await actionsOf({ targetIds: ['\ud800'] })).toEqual([]);
    expect(await actionsOf({ since: '2999-01-01T00:00:00Z' })).toEqual([]);
    expect(await actionsOf({ until: '2000-01-01T00:00:00Z' })).toEqual([]);
    const noKey = await fixture.run(list, { filter: { apiKeyIds: [apiKeyId, 'key_nonsense'] } });
    expect(noKey.errors).toEqual([{ code: 'NOT_FOUND', message: 'No API key with id "key_nonsense".' }]);
    const tooMany = await fixture.run(list, { filter: { actions: Array.from({ length: 101 }, () => 'a') } });
    expect(tooMany.errors).toEqual([
      { code: 'BAD_USER_INPUT', message: 'filter.actions must be at most 100 long, not 101.' },
    ]);
  });
});
