import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { startStack } from '../../src/stack/stack.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { startTestRedis } from '../support/redis.ts';

let dataFolder: string;

beforeAll(async () => {
  dataFolder = await mkdtemp(join(tmpdir(), 'posthorn-stack-'));
});

afterAll(() => rm(dataFolder, { recursive: true, force: true }));

const POSTHORN_ENCRYPTION_KEYS = `k1:${Buffer.alloc(32, 1).toString('base64')}`;

test('the embedded stack has queue, feed and rate limit beside its Postgres, and keeps its encryption key between starts', async () => {
  const config = loadConfig({ POSTHORN_DATA: dataFolder });
  const first = await startStack(config);
  expect(first.embedded).toBe(true);
  expect(first.queueConnection).toEqual({ kind: 'postgres', url: first.databaseUrl });
  await first.feed.ping();
  expect(await first.rateLimit.take('key', 100, 11)).toEqual({ granted: 10, waitMs: 10 });
  await first[Symbol.asyncDispose]();
  await expect(first.rateLimit.take('key', 100, 1)).rejects.toThrow('closed');
  expect((await stat(join(dataFolder, 'encryption-keys'))).mode & 0o777).toBe(0o600);

  const second = await startStack(config);
  await second[Symbol.asyncDispose]();
  expect(second.encryptionKeys).toEqual(first.encryptionKeys);
  expect(second.encryptionKeys.map(({ key }) => key.length)).toEqual([32]);

  await writeFile(join(dataFolder, 'encryption-keys'), 'embedded:cut');
  await expect(startStack(config)).rejects.toThrow('restore that file from a backup');
  // What had started for it has been stopped: the folder is free again.
  await writeFile(join(dataFolder, 'encryption-keys'), POSTHORN_ENCRYPTION_KEYS);
  await using third = await startStack(config);
  expect(third.encryptionKeys.map(({ id }) => id)).toEqual(['k1']);
});

test('with DATABASE_URL alone the queue is on that Postgres', async () => {
  await using database = await createTestDatabase();
  await using stack = await startStack(loadConfig({ DATABASE_URL: database.url, POSTHORN_ENCRYPTION_KEYS }));
  expect(stack).toMatchObject({
    embedded: false,
    databaseUrl: database.url,
    queueConnection: { kind: 'postgres', url: database.url },
  });
});

test('with Redis all processes share one rate limit', async () => {
  await using database = await createTestDatabase();
  await using redis = await startTestRedis();
  const config = loadConfig({
    DATABASE_URL: database.url,
    REDIS_URI_VOLATILE: redis.url,
    REDIS_URI_DURABLE: redis.url,
    POSTHORN_ENCRYPTION_KEYS,
  });
  await using one = await startStack(config);
  await using two = await startStack(config);
  expect(await one.rateLimit.take('key', 0.01, 1)).toEqual({ granted: 1, waitMs: 0 });
  expect(await two.rateLimit.take('key', 0.01, 1)).toMatchObject({ granted: 0 });
});

test('a database that does not answer is named by host and port, and its password is not', async () => {
  const config = loadConfig({ DATABASE_URL: 'postgresql://posthorn:geheim@127.0.0.1:1/x', POSTHORN_ENCRYPTION_KEYS });
  const error = await startStack(config).catch((reason: unknown) => reason);
  expect(String(error)).toBe(
    'Error: The database at 127.0.0.1:1 cannot be reached: nothing listens there (ECONNREFUSED).',
  );
});
