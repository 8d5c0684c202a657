import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Finding } from '../../src/finding.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { loadBacklog } from '../../src/store/backlog.ts';
import { newId } from '../../src/store/new-id.ts';
import { createWebhook } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { createStack } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { startListener } from '../support/listener.ts';
import { startOldPostgres } from '../support/old-postgres.ts';
import { createDataFolder, runPosthorn, startPosthorn } from '../support/posthorn.ts';
import type { Posthorn } from '../support/posthorn.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

type Env = Record<string, string>;

/** `posthorn doctor --json`: its exit code, what it found by check, and that no password is anywhere. */
async function examine(env: Env): Promise<{ code: number | null; ok: boolean; found: Map<string, Finding> }> {
  const running = runPosthorn(['doctor', '--json'], env);
  const { code } = await running.ended;
  expect(running.output()).not.toContain('hidden-password');
  const { ok, findings } = JSON.parse(running.output()) as { ok: boolean; findings: Finding[] };
  return { code, ok, found: new Map(findings.map((finding) => [finding.check, finding])) };
}

function failedIn(found: ReadonlyMap<string, Finding>): string[] {
  return [...found.values()].filter(({ status }) => status === 'failed').map(({ check }) => check);
}

async function runToEnd(args: readonly string[], env: Env): Promise<void> {
  const running = runPosthorn(args, env);
  const ended = await running.ended;
  expect({ ...ended, output: running.output() }).toMatchObject({ code: 0 });
}

/** The first sweep comes within its interval. */
async function untilSwept(databaseUrl: string): Promise<void> {
  const client = await connectToDatabase(databaseUrl);
  try {
    await untilFound('the first sweep', async () => {
      const { sweptUntil } = await loadBacklog(client, 1_000);
      return sweptUntil;
    });
  } finally {
    await client.end();
  }
}

/** What is needed whatever the servers are. */
const keys = { POSTHORN_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`, PORT: '0' };

describe('posthorn doctor without servers', () => {
  test('names every server that does not run, and what to do', async () => {
    const { code, ok, found } = await examine({
      ...keys,
      DATABASE_URL: 'postgresql://posthorn:hidden-password@127.0.0.1:1/posthorn',
      REDIS_URI_DURABLE: 'redis://:hidden-password@127.0.0.1:2',
      REDIS_URI_VOLATILE: 'redis://:hidden-password@127.0.0.1:3',
    });
    expect({ code, ok, failed: failedIn(found) }).toEqual({
      code: 1,
      ok: false,
      failed: ['PostgreSQL', 'durable Redis', 'volatile Redis'],
    });
    expect(found.get('PostgreSQL')).toMatchObject({
      message: 'The database at 127.0.0.1:1 cannot be reached: nothing listens there (ECONNREFUSED).',
      remedy: 'Start that server, or correct DATABASE_URL.',
    });
    expect(found.get('volatile Redis')?.message).toContain('REDIS_URI_VOLATILE at 127.0.0.1:3');
  });

  test('says each setting that is wrong, and nothing else', async () => {
    const { code, found } = await examine({ ...keys, PORT: 'x', REDIS_URI_DURABLE: 'redis://:hidden-password@a' });
    expect(code).toBe(1);
    expect([...found.keys()]).toEqual(['settings']);
  });

  test('on an old PostgreSQL says its version and the one that is needed, and so does a start', async () => {
    await using old = await startOldPostgres(120_022);
    const env = { ...keys, DATABASE_URL: old.url };
    const { code, found } = await examine(env);
    expect({ code, failed: failedIn(found) }).toEqual({ code: 1, failed: ['PostgreSQL version'] });
    expect(found.get('PostgreSQL version')).toMatchObject({
      message: 'It is PostgreSQL 12.22, which is too old.',
      remedy: 'Set DATABASE_URL to a PostgreSQL 13 or later.',
    });
    const start = runPosthorn(['start'], env);
    expect(await start.ended).toMatchObject({ code: 1 });
    expect(start.output()).toMatch(
      /^posthorn: The database at \S+ cannot be used: It is PostgreSQL 12\.22, which is too old\./,
    );
  });

  test('on a folder without a database says that a start makes it, and makes nothing', async () => {
    await using folder = await createDataFolder();
    const { code, found } = await examine({ PORT: '0', POSTHORN_DATA: folder.path });
    expect(code).toBe(0);
    expect(found.get('PostgreSQL')).toMatchObject({ status: 'warning', remedy: '`posthorn start` makes it.' });
    expect(await readdir(folder.path)).toEqual([]);
  });
});

describe('posthorn doctor on servers', () => {
  let stack: E2eStack;
  let durable: TestRedis;
  let volatile: TestRedis;
  let env: Env;

  beforeAll(async () => {
    durable = await startTestRedis({ settings: { appendonly: 'yes' } });
    volatile = await startTestRedis({ settings: { 'maxmemory-policy': 'allkeys-lru' } });
    stack = await createStack('postgres', { REDIS_URI_DURABLE: durable.url, REDIS_URI_VOLATILE: volatile.url });
    env = stack.env;
  });

  afterAll(async () => {
    for (const server of [stack, durable, volatile]) await server[Symbol.asyncDispose]();
  });

  test('finds the missing migrations', async () => {
    const missing = await examine(env);
    expect({ code: missing.code, failed: failedIn(missing.found) }).toEqual({ code: 1, failed: ['migrations'] });
    expect(missing.found.get('migrations')).toMatchObject({
      message: expect.stringContaining('20261123000000_init'),
      remedy: 'Run `posthorn migrate`.',
    });
  });

  test('on a migrated database that nobody uses finds no failure, and that no worker runs', async () => {
    await runToEnd(['migrate'], env);
    const idle = await examine(env);
    expect({ code: idle.code, failed: failedIn(idle.found) }).toEqual({ code: 0, failed: [] });
    expect(idle.found.get('sweep')).toMatchObject({
      status: 'warning',
      remedy: expect.stringContaining('posthorn worker'),
    });
  });

  describe('while Posthorn runs', () => {
    let posthorn: Posthorn;

    beforeAll(async () => {
      await runToEnd(['migrate'], env);
      posthorn = await startPosthorn({ env, dataFolder: stack.dataFolder });
      await using client = createApiClient(posthorn, posthorn.apiKey);
      await createWebhook(client, 'Signed', { url: 'http://127.0.0.1:9/' });
      await untilSwept(env['DATABASE_URL'] ?? '');
    });

    afterAll(async () => await posthorn[Symbol.asyncDispose]());

    test('finds everything good', async () => {
      const good = await examine({ ...env, PORT: new URL(posthorn.graphqlUrl).port });
      expect({ code: good.code, ok: good.ok }).toEqual({ code: 0, ok: true });
      expect([...good.found.values()].filter(({ status }) => status !== 'ok')).toEqual([]);
      expect([...good.found.keys()]).toEqual([
        'settings',
        'stop',
        'PostgreSQL',
        'PostgreSQL version',
        'PostgreSQL writes',
        'PostgreSQL connections',
        'PostgreSQL encryption',
        'clocks',
        'migrations',
        'encryption keys',
        'due deliveries',
        'sweep',
        'durable Redis: version',
        'durable Redis: eviction',
        'durable Redis: persistence',
        'durable Redis: memory',
        'durable Redis: encryption',
        'volatile Redis: version',
        'volatile Redis: encryption',
        'Redis apart',
        'queue',
        'Redis of its own',
        'gateway',
      ]);
      expect(good.found.get('gateway')?.message).toContain('A gateway is ready');
    });

    test('finds that the feed has projects of another deployment', async () => {
      const redis = new Redis(volatile.url);
      const key = `posthorn:feed:{${newId('project')}}:meta`;
      await redis.hset(key, 'epoch', 'x');
      const shared = await examine(env);
      await redis.del(key);
      await redis.quit();
      expect(shared.code).toBe(0);
      expect(shared.found.get('Redis of its own')).toMatchObject({
        status: 'warning',
        message: expect.stringMatching(/^The feed has \d+ projects, of which the database lacks 1: another deployment/),
      });
    });

    test('finds that deliveries are due and no worker takes them', async () => {
      const client = await connectToDatabase(env['DATABASE_URL'] ?? '');
      const { rows } = await client.query<{ id: string }>(
        `insert into deliveries (id, project_id, event_id, webhook_id, max_attempts, due_at, status, claimed_at)
         select posthorn_uuid_v7(), project_id, posthorn_uuid_v7(), id, 1, now() - interval '10 minutes', 'DELIVERING', now()
         from webhooks limit 1 returning id`,
      );
      const due = await examine(env);
      await client.query('delete from deliveries where id = $1', [rows[0]?.id]);
      await client.end();
      expect(due.found.get('due deliveries')).toMatchObject({
        status: 'warning',
        message: expect.stringMatching(/^1 overdue; the oldest has been due for 6\d\d s\.$/),
        remedy: 'See that workers run and are well; add more when they are busy.',
      });
    });

    test('with another encryption key finds that stored secrets cannot be read', async () => {
      const other = await examine({ ...env, ...keys });
      expect({ code: other.code, failed: failedIn(other.found) }).toEqual({ code: 1, failed: ['encryption keys'] });
    });
  });

  test('says that the database takes no writes, and that the role may have too few connections', async () => {
    const url = new URL(env['DATABASE_URL'] ?? '');
    const client = await connectToDatabase(url.href);
    const name = url.pathname.slice(1);
    await client.query(`alter database ${name} set default_transaction_read_only = on`);
    await client.query(`alter database ${name} connection limit 20`);
    const { code, found } = await examine(env);
    await client.query('set default_transaction_read_only = off');
    await client.query(`alter database ${name} reset default_transaction_read_only`);
    await client.query(`alter database ${name} connection limit -1`);
    await client.end();
    expect(code).toBe(1);
    expect(found.get('PostgreSQL writes')).toMatchObject({ status: 'failed' });
    expect(found.get('PostgreSQL connections')).toMatchObject({
      status: 'warning',
      message: 'It lets 20 connections in; a gateway takes up to 23, a worker 11.',
    });
  });

  test('says that the password is wrong', async () => {
    const url = new URL(env['DATABASE_URL'] ?? '');
    url.password = 'hidden-password';
    const { code, found } = await examine({ ...env, DATABASE_URL: url.href });
    expect({ code, failed: failedIn(found) }).toEqual({ code: 1, failed: ['PostgreSQL'] });
    expect(found.get('PostgreSQL')?.message).toMatch(
      /^The database \S+ at 127\.0\.0\.1:\d+ refuses the connection: password authentication failed for user "postgres"\.$/,
    );
  });

  test('says why the queue does not answer, as where the password of its Redis is wrong', async () => {
    const url = new URL(env['REDIS_URI_DURABLE'] ?? '');
    url.password = 'hidden-password';
    const client = new Redis(durable.url);
    await client.config('SET', 'requirepass', 'another');
    const { code, found } = await examine({ ...env, REDIS_URI_DURABLE: url.href });
    await client.config('SET', 'requirepass', '');
    await client.quit();
    expect({ code, failed: failedIn(found) }).toEqual({ code: 1, failed: ['durable Redis', 'queue'] });
    expect(found.get('queue')?.message).toMatch(/^The queue does not answer: WRONGPASS /);
  });

  test('says that the durable Redis evicts and persists nothing, and prints what to do for a person', async () => {
    const doctor = runPosthorn(['doctor'], { ...env, REDIS_URI_DURABLE: volatile.url });
    expect(await doctor.ended).toMatchObject({ code: 1 });
    const lines = doctor.output().split('\n');
    const place = `127.0.0.1:${volatile.port}`;
    const at = lines.findIndex((line) => line.startsWith('failed   durable Redis: eviction'));
    expect(lines[at]).toContain(`The durable Redis at ${place} has maxmemory-policy allkeys-lru and not noeviction`);
    expect(lines[at + 1]).toMatch(/^ +→ Set `maxmemory-policy noeviction` in its configuration\.$/);
    expect(doctor.output()).toMatch(/^failed {3}durable Redis: persistence/m);
    expect(doctor.output()).toMatch(/^warning {2}Redis apart/m);
  });

  test('says that something else has the port', async () => {
    await using listener = await startListener(['127.0.0.1']);
    const { found } = await examine({ ...env, PORT: String(listener.port) });
    expect(found.get('gateway')).toMatchObject({ status: 'failed', remedy: 'Stop it, or set PORT to another port.' });
  });
});
