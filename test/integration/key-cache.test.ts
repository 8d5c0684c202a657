import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { idFromUuid } from '../../src/domain/ids.ts';
import { createApiKey, revokeApiKey } from '../../src/store/api-keys.ts';
import { createKeyCache, type KeyCache } from '../../src/store/key-cache.ts';
import { openStoreFixture, type StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: StoreFixture;
let nowMs = 0;
let cache: KeyCache;

beforeAll(async () => {
  fixture = await openStoreFixture();
  return async () => await fixture[Symbol.asyncDispose]();
});
afterAll(() => vi.restoreAllMocks());
beforeEach(() => {
  nowMs = 0;
  cache = createKeyCache(fixture.db, { now: () => nowMs, keptMs: 1_000, keysMax: 3 });
});

async function makeKey(expiresAt: Date | null = null) {
  const input = { name: 'Cached', permissions: ['VIEW_WEBHOOKS'], expiresAt } as const;
  const { apiKey, key } = await createApiKey(fixture.db, fixture.projectId, input, testActor);
  return { key, id: idFromUuid('apiKey', apiKey.id) };
}

/** How many statements the work sends to the database. */
async function countStatements(work: () => Promise<unknown>): Promise<number> {
  const query = vi.spyOn(fixture.db.pipeline, 'query');
  try {
    await work();
    return query.mock.calls.length;
  } finally {
    query.mockRestore();
  }
}

test('a key is looked up once a second, however often it is used, and by id as by its text', async () => {
  const { key, id } = await makeKey();
  expect(await countStatements(async () => await cache.find(key))).toBe(1);
  nowMs = 999;
  expect(await countStatements(async () => await cache.find(key))).toBe(0);
  nowMs = 1_000;
  expect(await countStatements(async () => await cache.find(key))).toBe(1);
  expect(await countStatements(async () => await cache.findById(id))).toBe(1);
  expect(await countStatements(async () => await cache.findById(id))).toBe(0);
  expect(await cache.findById(id)).toEqual(await cache.find(key));
});

test('calls at the same time share one look-up', async () => {
  const { key } = await makeKey();
  const many = async () => await Promise.all(Array.from({ length: 100 }, async () => await cache.find(key)));
  expect(await countStatements(many)).toBe(1);
});

test('a key that is revoked elsewhere works for a second at most, one that is forgotten not at all', async () => {
  const elsewhere = await makeKey();
  const here = await makeKey();
  await cache.find(elsewhere.key);
  await cache.find(here.key);
  await cache.findById(here.id);
  for (const { id } of [elsewhere, here]) await revokeApiKey(fixture.db, fixture.projectId, id, testActor);
  cache.forget(here.id);
  expect(await cache.find(here.key)).toBeNull();
  expect(await cache.findById(here.id)).toBeNull();
  expect(await cache.find(elsewhere.key)).not.toBeNull();
  nowMs = 1_000;
  expect(await cache.find(elsewhere.key)).toBeNull();
});

test('a look-up that began before its key was forgotten is not remembered', async () => {
  const { key, id } = await makeKey();
  const underWay = cache.find(key);
  cache.forget(id);
  expect(await underWay).not.toBeNull();
  expect(await countStatements(async () => await cache.find(key))).toBe(1);
});

test('a key that expires is not found from that moment on, remembered or not', async () => {
  const { key } = await makeKey(new Date(Date.now() + 2_000));
  expect(await cache.find(key)).not.toBeNull();
  await vi.waitFor(async () => expect(await cache.find(key)).toBeNull(), { timeout: 10_000, interval: 20 });
});

test('unknown keys are not remembered, and what cannot be a key is not looked up', async () => {
  const unknown = `phk_${'A'.repeat(43)}`;
  expect(await countStatements(async () => [await cache.find(unknown), await cache.find(unknown)])).toBe(2);
  expect(await countStatements(async () => await cache.find('nonsense'))).toBe(0);
});

test('no more keys are remembered than the cache may have, the latest of them', async () => {
  const keys = [await makeKey(), await makeKey(), await makeKey(), await makeKey()];
  for (const { key } of keys) await cache.find(key);
  const [first, ...others] = keys;
  const findOthers = async () => {
    for (const { key } of others) await cache.find(key);
  };
  expect(await countStatements(findOthers)).toBe(0);
  expect(await countStatements(async () => await cache.find(first?.key ?? ''))).toBe(1);
});

test('a failing look-up fails its callers, and the next call looks again', async () => {
  const { key } = await makeKey();
  const query = vi.spyOn(fixture.db.pipeline, 'query').mockRejectedValueOnce(new Error('down'));
  await expect(cache.find(key)).rejects.toThrow('down');
  query.mockRestore();
  expect(await cache.find(key)).not.toBeNull();
});
