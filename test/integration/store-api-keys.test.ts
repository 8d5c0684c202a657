import { createHash } from 'node:crypto';
import { beforeAll, describe, expect, test } from 'vitest';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { createApiKey, findApiKey, listApiKeys, revokeApiKey } from '../../src/store/api-keys.ts';
import { newId } from '../../src/store/new-id.ts';
import { createProject, findProject } from '../../src/store/projects.ts';
import { openStoreFixture, type StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: StoreFixture;

beforeAll(async () => {
  fixture = await openStoreFixture();
  return async () => await fixture[Symbol.asyncDispose]();
});

const input = { name: 'CI', permissions: ['EMIT_EVENTS'], expiresAt: null } as const;

describe('api keys', () => {
  test('a created key is found by its text, with its project and permissions', async () => {
    const { db, projectId } = fixture;
    const { apiKey, key } = await createApiKey(
      db,
      projectId,
      {
        ...input,
        permissions: ['VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS'],
      },
      testActor,
    );
    expect(await findApiKey(db, key)).toEqual({
      apiKeyId: idFromUuid('apiKey', apiKey.id),
      projectId,
      permissions: new Set(['VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS']),
      expiresAt: null,
    });
  });

  test('the text is 256 random bits, and only its SHA-256 and its first eight characters are stored', async () => {
    const { db, projectId } = fixture;
    const { apiKey, key } = await createApiKey(db, projectId, input, testActor);
    expect(key).toMatch(/^phk_[\w-]{43}$/);
    expect(apiKey.keyPrefix).toBe(key.slice(0, 8));
    expect(Buffer.from(apiKey.keyHash)).toEqual(createHash('sha256').update(key).digest());
    const { rows } = await db.pipeline.query<{ text: string }>('select api_keys::text as text from api_keys');
    expect(rows.map((row) => row.text).join('\n')).not.toContain(key.slice(8));
  });

  test('a key that is revoked, expired, altered or none at all is not found', async () => {
    const { db, projectId } = fixture;
    const revoked = await createApiKey(db, projectId, input, testActor);
    await revokeApiKey(db, projectId, idFromUuid('apiKey', revoked.apiKey.id), testActor);
    const expired = await createApiKey(db, projectId, { ...input, expiresAt: new Date(Date.now() - 1_000) }, testActor);
    const live = await createApiKey(
      db,
      projectId,
      { ...input, expiresAt: new Date(Date.now() + 3_600_000) },
      testActor,
    );
    const altered = live.key.slice(0, -1) + (live.key.endsWith('A') ? 'B' : 'A');
    for (const text of [revoked.key, expired.key, altered, live.key.slice(0, -1), `${live.key}A`, '', 'phk_']) {
      expect(await findApiKey(db, text)).toBeNull();
    }
    expect(await findApiKey(db, live.key)).not.toBeNull();
  });

  test('a permission that this version does not know is not granted', async () => {
    const { db, projectId } = fixture;
    const { apiKey, key } = await createApiKey(db, projectId, input, testActor);
    await db.prisma.apiKey.update({
      where: { id: apiKey.id },
      data: { permissions: ['EMIT_EVENTS', 'RULE_THEM_ALL'] },
    });
    expect((await findApiKey(db, key))?.permissions).toEqual(new Set(['EMIT_EVENTS']));
  });

  test('revoking again keeps the first time', async () => {
    const { db, projectId } = fixture;
    const { apiKey } = await createApiKey(db, projectId, input, testActor);
    const id = idFromUuid('apiKey', apiKey.id);
    const first = await revokeApiKey(db, projectId, id, testActor);
    const second = await revokeApiKey(db, projectId, id, testActor);
    expect(first?.revokedAt).toBeInstanceOf(Date);
    expect(second?.revokedAt).toEqual(first?.revokedAt);
  });

  test('a stranger neither revokes nor lists a key', async () => {
    const { db, projectId, strangerId } = fixture;
    const { apiKey, key } = await createApiKey(db, projectId, input, testActor);
    expect(await revokeApiKey(db, strangerId, idFromUuid('apiKey', apiKey.id), testActor)).toBeNull();
    expect(await findApiKey(db, key)).not.toBeNull();
    expect(await listApiKeys(db, strangerId)).toEqual([]);
  });

  test('the list has the newest first', async () => {
    const { db } = fixture;
    const projectId = idFromUuid('project', (await createProject(db, 'Listing')).id);
    const names = ['first', 'second', 'third'];
    for (const name of names) await createApiKey(db, projectId, { ...input, name }, testActor);
    expect((await listApiKeys(db, projectId)).map((apiKey) => apiKey.name)).toEqual(names.toReversed());
  });
});

describe('projects', () => {
  test('a created project is found by its id', async () => {
    const project = await createProject(fixture.db, 'Agenta');
    const id = idFromUuid('project', project.id);
    expect(uuidOf(id)).toBe(project.id);
    expect(await findProject(fixture.db, id)).toEqual(project);
    expect(project.name).toBe('Agenta');
  });

  test('an id that stands for none finds null', async () => {
    expect(await findProject(fixture.db, newId('project'))).toBeNull();
  });
});
