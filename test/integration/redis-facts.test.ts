import { Redis } from 'ioredis';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import type { Finding } from '../../src/finding.ts';
import { readRedisFacts } from '../../src/stack/redis-facts.ts';
import { startStack } from '../../src/stack/stack.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

let redis: TestRedis;

beforeAll(async () => {
  redis = await startTestRedis({ settings: { requirepass: 'hidden-password' } });
});

afterAll(async () => await redis[Symbol.asyncDispose]());

function urlOf(user = '', password = 'hidden-password', path = ''): string {
  return `redis://${user}:${password}@127.0.0.1:${redis.port}${path}`;
}

async function troubleOf(url: string): Promise<string> {
  const error: unknown = await readRedisFacts('REDIS_URI_DURABLE', url).catch((reason: unknown) => reason);
  return error instanceof Error ? error.message : 'no trouble';
}

test('a Redis says its version, what it evicts and how it persists', async () => {
  expect(await readRedisFacts('REDIS_URI_DURABLE', urlOf('', 'hidden-password', '/3'))).toEqual({
    place: `127.0.0.1:${redis.port}`,
    version: expect.stringMatching(/^\d+\.\d+/),
    runId: expect.stringMatching(/^[0-9a-f]{40}$/),
    database: 3,
    evictionPolicy: 'noeviction',
    persistence: 'none',
    usedBytes: expect.any(Number),
    maxBytes: 0,
  });
  await using other = await startTestRedis({ settings: { 'maxmemory-policy': 'allkeys-lru', save: '60 1' } });
  const facts = await readRedisFacts('REDIS_URI_DURABLE', other.url);
  expect(facts).toMatchObject({ evictionPolicy: 'allkeys-lru', persistence: 'snapshots' });
  await using appending = await startTestRedis({ settings: { appendonly: 'yes' } });
  expect(await readRedisFacts('REDIS_URI_DURABLE', appending.url)).toMatchObject({ persistence: 'append-only file' });
});

test('a Redis that forbids CONFIG and INFO leaves unknown what only they tell', async () => {
  const admin = new Redis(urlOf());
  await admin.call('ACL', 'SETUSER', 'managed', 'on', '>managed-password', '~*', '&*', '+@all', '-config', '-info');
  await admin.call('ACL', 'SETUSER', 'half', 'on', '>half-password', '~*', '&*', '+@all', '-config');
  admin.disconnect();
  const unknown = {
    version: null,
    runId: null,
    evictionPolicy: null,
    persistence: null,
    usedBytes: null,
    maxBytes: null,
  };
  expect(await readRedisFacts('REDIS_URI_DURABLE', urlOf('managed', 'managed-password'))).toMatchObject(unknown);
  expect(await readRedisFacts('REDIS_URI_DURABLE', urlOf('half', 'half-password'))).toMatchObject({
    evictionPolicy: 'noeviction',
    persistence: null,
  });
});

test('a wrong password, none, and a database that is not there are refused in one sentence, without the password', async () => {
  const begin = `The Redis of REDIS_URI_DURABLE at 127.0.0.1:${redis.port} refuses the connection: `;
  expect(await troubleOf(urlOf('', 'other-password'))).toBe(
    `${begin}WRONGPASS invalid username-password pair or user is disabled.`,
  );
  expect(await troubleOf(redis.url)).toBe(
    `The Redis of REDIS_URI_DURABLE at 127.0.0.1:${redis.port} asks for a password, and the URL has none.`,
  );
  expect(await troubleOf(urlOf('', 'hidden-password', '/99'))).toBe(`${begin}ERR DB index is out of range.`);
});

test('one that is down and a name that nobody knows are named with host and port', async () => {
  expect(await troubleOf('redis://:hidden-password@127.0.0.1:1')).toBe(
    'The Redis of REDIS_URI_DURABLE at 127.0.0.1:1 cannot be reached: nothing listens there (ECONNREFUSED).',
  );
  expect(await troubleOf('redis://:hidden-password@redis.invalid')).toMatch(
    /^The Redis of REDIS_URI_DURABLE at redis\.invalid:6379 cannot be reached: .* \((ENOTFOUND|EAI_AGAIN)\)\.$/,
  );
});

test('a start tells what is wrong with the durable Redis, and that queue and feed share one', async () => {
  await using database = await createTestDatabase();
  const findings: Finding[] = [];
  const config = loadConfig({
    DATABASE_URL: database.url,
    REDIS_URI_DURABLE: urlOf(),
    REDIS_URI_VOLATILE: urlOf().replace('127.0.0.1', 'localhost'),
    POSTHORN_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
  });
  await using stack = await startStack(config, { onFinding: (finding) => findings.push(finding) });
  expect(stack.embedded).toBe(false);
  expect(findings.filter(({ status }) => status !== 'ok').map(({ check }) => check)).toEqual([
    'durable Redis: persistence',
    'Redis apart',
  ]);
});
