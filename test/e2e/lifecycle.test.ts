import { execFile } from 'node:child_process';
import { readFile, readdir, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWebhook, emitOne, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { findDemoFacts } from '../../src/demo-project.ts';
import { createStack } from '../support/e2e-stack.ts';
import { createDataFolder, runPosthorn, startPosthorn } from '../support/posthorn.ts';
import type { Posthorn } from '../support/posthorn.ts';
import { startReceiver } from '../support/receiver.ts';
import { ProjectDocument, WebhookDocument } from '../generated/graphql.ts';

const endLimitMs = 10_000;
const secondStartTargetMs = 5_000;
/** Machines that run other things besides are slower. */
const secondStartLimitMs = 15_000;

async function readPostgresPid(dataFolder: string): Promise<number | null> {
  const text = await readFile(path.join(dataFolder, 'postgres', 'postmaster.pid'), 'utf8').catch(() => null);
  return text === null ? null : Number(text.split('\n', 1)[0]);
}

/** Resolves when the process is gone. One that only its parent's wait keeps in the table is gone. */
async function untilGone(pid: number | null): Promise<void> {
  if (pid === null) throw new Error('there was no process');
  await untilFound(`process ${pid} to be gone`, async () => ((await isRunning(pid)) ? null : true), endLimitMs);
}

async function isRunning(pid: number): Promise<boolean> {
  const { stdout } = await promisify(execFile)('ps', ['-o', 'stat=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.trim() !== '' && !stdout.startsWith('Z');
}

/** Asks it to end: it does within seconds, with code 0, and so does its Postgres. */
async function endWell(posthorn: Posthorn, signal: 'SIGINT' | 'SIGTERM'): Promise<void> {
  const postgresPid = await readPostgresPid(posthorn.dataFolder);
  expect(postgresPid !== null && (await isRunning(postgresPid))).toBe(true);
  const askedAt = performance.now();
  expect(await posthorn.end(signal)).toEqual({ code: 0, signal: null });
  expect(performance.now() - askedAt).toBeLessThan(endLimitMs);
  await untilGone(postgresPid);
  expect(await readPostgresPid(posthorn.dataFolder)).toBeNull();
}

/** Runs a command that cannot start: what it printed, once it has ended with code 1. */
async function failToStart(env: Record<string, string>, command = 'start'): Promise<string> {
  const running = runPosthorn([command], env);
  const ended = await running.ended;
  expect({ ...ended, output: running.output() }).toMatchObject({ code: 1, signal: null });
  expect(running.output()).not.toMatch(/^\s+at |node:internal|\[object|Error:/m);
  return running.output().trim();
}

describe('posthorn start', () => {
  let running: Posthorn;

  beforeAll(async () => {
    running = await startPosthorn();
  });

  afterAll(async () => {
    await running[Symbol.asyncDispose]();
  });

  test('prints what to try, and keeps it in demo.json for its owner alone', async () => {
    const { graphqlUrl, websocketUrl, apiKey, projectId } = running;
    const file = path.join(running.dataFolder, 'demo.json');
    expect(JSON.parse(await readFile(file, 'utf8'))).toEqual({ graphqlUrl, websocketUrl, apiKey, projectId });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    for (const fact of [graphqlUrl, websocketUrl, apiKey, 'createWebhook', 'emitEvent', 'deliveryFeed']) {
      expect(running.output()).toContain(fact);
    }
  });

  test('says that the port is taken, in one sentence, and leaves no Postgres behind', async () => {
    await using folder = await createDataFolder();
    const port = new URL(running.graphqlUrl).port;
    const output = await failToStart({ PORT: port, POSTHORN_DATA: folder.path });
    expect(output.split('\n')).toHaveLength(1);
    expect(output).toMatch(new RegExp(`^posthorn: .*${port}.*\\.$`));
    expect(await readPostgresPid(folder.path)).toBeNull();
  });

  test('says that the database cannot be reached, in one sentence without its password', async () => {
    await using folder = await createDataFolder();
    const output = await failToStart({
      PORT: '0',
      POSTHORN_DATA: folder.path,
      DATABASE_URL: 'postgresql://posthorn:hidden-password@127.0.0.1:1/posthorn',
      POSTHORN_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
    });
    expect(output.split('\n')).toHaveLength(1);
    expect(output).toMatch(/^posthorn: .*127\.0\.0\.1:1.*\.$/);
    expect(output).not.toContain('hidden-password');
  });

  test('says that a Redis cannot be reached, in one sentence', async () => {
    await using folder = await createDataFolder();
    const { port, password } = new URL(await urlOfEmbedded(running.dataFolder));
    const output = await failToStart({
      PORT: '0',
      POSTHORN_DATA: folder.path,
      DATABASE_URL: `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`,
      POSTHORN_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
      REDIS_URI_DURABLE: 'redis://127.0.0.1:1',
      REDIS_URI_VOLATILE: 'redis://127.0.0.1:1',
      LOG_LEVEL: 'silent',
    });
    expect(output.split('\n')).toHaveLength(1);
    expect(output).toMatch(/^posthorn: .*Redis.*127\.0\.0\.1:1/);
  });

  test('lists every bad setting at once', async () => {
    await using folder = await createDataFolder();
    const output = await failToStart({
      PORT: 'abc',
      POSTHORN_DATA: folder.path,
      WEBHOOK_TIMEOUT: '-1',
      WEBHOOK_RETRY_SCHEDULE: 'soon',
    });
    const [first, ...problems] = output.split('\n');
    expect(first).toBe('posthorn: These settings cannot be used:');
    expect(problems).toHaveLength(3);
    expect(problems.map((line) => /^- (\w+) ".*" must be .*\.$/.exec(line)?.[1])).toEqual([
      'PORT',
      'WEBHOOK_TIMEOUT',
      'WEBHOOK_RETRY_SCHEDULE',
    ]);
  });

  test('says that another Posthorn uses the data folder, and that one goes on', async () => {
    const output = await failToStart({ PORT: '0', POSTHORN_DATA: running.dataFolder });
    expect(output.split('\n')).toHaveLength(1);
    expect(output).toContain(`process ${running.pid}`);
    expect(output).toContain(running.dataFolder);
    await using client = createApiClient(running, running.apiKey);
    expect((await client.run(ProjectDocument, {})).project.id).toBe(running.projectId);
  });

  test('goes on when nobody reads what it prints', async () => {
    await using folder = await createDataFolder();
    const unread = runPosthorn(['start'], { PORT: '0', POSTHORN_DATA: folder.path });
    unread.process.stdout?.destroy();
    const facts = await untilFound('demo.json', async () => await findDemoFacts(folder.path));
    // It printed right after that; an answer shows that it lives on.
    const response = await fetch(new URL('/ready', facts.graphqlUrl));
    expect(response.status).toBe(200);
    unread.process.kill('SIGTERM');
    expect(await unread.ended).toEqual({ code: 0, signal: null });
    expect(unread.output()).toBe('');
  });

  test('does not keep another one, on a port and a folder of its own, from running at the same time', async () => {
    await using second = await startPosthorn();
    expect(second.projectId).not.toBe(running.projectId);
    for (const posthorn of [running, second]) {
      await using client = createApiClient(posthorn, posthorn.apiKey);
      expect((await client.run(ProjectDocument, {})).project.id).toBe(posthorn.projectId);
    }
    await using stranger = createApiClient(second, running.apiKey);
    expect((await stranger.ask(ProjectDocument)).errors.map(({ code }) => code)).toEqual(['UNAUTHENTICATED']);
  });
});

describe.each(['gateway', 'worker'])('posthorn %s', (command) => {
  test('without the servers that processes share says what it needs, and takes no data folder', async () => {
    await using folder = await createDataFolder();
    const database = {
      DATABASE_URL: 'postgresql://posthorn:hidden-password@127.0.0.1:1/posthorn',
      POSTHORN_ENCRYPTION_KEYS: `k1:${Buffer.alloc(32, 1).toString('base64')}`,
    };
    for (const env of [{}, database]) {
      const output = await failToStart({ PORT: '0', POSTHORN_DATA: folder.path, ...env }, command);
      expect(output).toBe(
        `posthorn: \`posthorn ${command}\` needs DATABASE_URL, REDIS_URI_DURABLE and REDIS_URI_VOLATILE, which it shares with the other processes; without them run \`posthorn start\`, which is everything in one process.`,
      );
    }
    expect(await readdir(folder.path)).toEqual([]);
  });

  test('on a database without the tables says to migrate first', async () => {
    await using stack = await createStack('redis');
    const output = await failToStart({ ...stack.env, LOG_LEVEL: 'silent' }, command);
    expect(output).toMatch(/^posthorn: The database \S+ is not up to date: run `posthorn migrate` first\.$/);
  });
});

/** As a person would find it: the port in postmaster.pid, the password beside. */
async function urlOfEmbedded(dataFolder: string): Promise<string> {
  const port = (await readFile(path.join(dataFolder, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[3];
  const password = await readFile(path.join(dataFolder, 'postgres-password'), 'utf8');
  return `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;
}

describe('posthorn start, again and again on the same data', () => {
  test('ends at SIGINT and leaves no Postgres; the next start has all it had, and is ready within seconds', async () => {
    await using folder = await createDataFolder();
    await using receiver = await startReceiver();
    const first = await startPosthorn({ dataFolder: folder.path });
    let webhookId: string;
    let deliveryId: string;
    {
      await using client = createApiClient(first, first.apiKey);
      const { webhook, eventType } = await createWebhook(client, 'Kept', { url: receiver.url });
      webhookId = webhook.id;
      deliveryId = await emitOne(client, eventType);
      await untilStatus(client, deliveryId, 'DELIVERED');
    }
    await endWell(first, 'SIGINT');

    const startedAt = performance.now();
    await using second = await startPosthorn({ dataFolder: folder.path });
    const readyMs = Math.round(performance.now() - startedAt);
    process.stdout.write(`second start: ready after ${readyMs} ms (target ${secondStartTargetMs} ms)\n`);
    expect(readyMs).toBeLessThan(secondStartLimitMs);
    expect([second.apiKey, second.projectId]).toEqual([first.apiKey, first.projectId]);
    await using client = createApiClient(second, first.apiKey);
    expect((await client.run(WebhookDocument, { id: webhookId })).webhook?.name).toBe('Kept');
    await untilStatus(client, deliveryId, 'DELIVERED');
    expect(receiver.requests).toHaveLength(1);
  });

  test('recovers from kill -9, whatever became of its Postgres; SIGTERM ends it and leaves none', async () => {
    await using folder = await createDataFolder();
    const first = await startPosthorn({ dataFolder: folder.path });
    const orphan = await readPostgresPid(folder.path);
    expect(await first.end('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
    await using second = await startPosthorn({ dataFolder: folder.path });
    expect([second.apiKey, second.projectId]).toEqual([first.apiKey, first.projectId]);
    expect(await readPostgresPid(folder.path)).not.toBe(orphan);
    await untilGone(orphan);
    await endWell(second, 'SIGTERM');
  });

  test('replaces a demo.json that cannot be read', async () => {
    await using folder = await createDataFolder();
    await writeFile(path.join(folder.path, 'demo.json'), '{ "projectId": ');
    await using posthorn = await startPosthorn({ dataFolder: folder.path });
    await using client = createApiClient(posthorn, posthorn.apiKey);
    expect((await client.run(ProjectDocument, {})).project.id).toBe(posthorn.projectId);
  });

  test('SIGTERM while a request is under way lets it finish, and it is recorded', async () => {
    await using folder = await createDataFolder();
    const gate = Promise.withResolvers<void>();
    await using receiver = await startReceiver(async () => {
      await gate.promise;
      return {};
    });
    const first = await startPosthorn({ dataFolder: folder.path });
    let deliveryId: string;
    {
      await using client = createApiClient(first, first.apiKey);
      const { eventType } = await createWebhook(client, 'Under way', { url: receiver.url });
      deliveryId = await emitOne(client, eventType);
      await receiver.waitFor(1);
    }
    const ended = first.end('SIGTERM');
    // It takes no more requests: that is the sign that it is stopping.
    await untilFound('the gateway to stop', async () => {
      const response = await fetch(new URL('/ready', first.graphqlUrl)).catch(() => null);
      return response?.ok === true ? null : true;
    });
    gate.resolve();
    expect(await ended).toEqual({ code: 0, signal: null });
    await using second = await startPosthorn({ dataFolder: folder.path });
    await using client = createApiClient(second, second.apiKey);
    expect(await untilStatus(client, deliveryId, 'DELIVERED')).toMatchObject({ attemptCount: 1 });
    expect(receiver.requests).toHaveLength(1);
  });
});
