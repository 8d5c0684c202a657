import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { access, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPipelines } from '../../src/store/pipelines.ts';
import { createWebhook, emitOne, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import { createStack, startOn } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { countHistory, loseClaims, storeHistory } from '../support/history.ts';
import { createDataFolder } from '../support/posthorn.ts';
import type { Posthorn } from '../support/posthorn.ts';
import { requireProgram } from '../support/program.ts';
import { startReceiver } from '../support/receiver.ts';

// The scripts as cron runs them: by `sh`, with nothing of the container's environment but what its first process has.

const folder = path.join(import.meta.dirname, 'cron');
const adminKey = `admin-${randomBytes(16).toString('hex')}`;
const disposables = new AsyncDisposableStack();
let stack: E2eStack;
let posthorn: Posthorn;
let pipelines: ReturnType<typeof openPipelines>;
let environFolder: string;
let url: string;

beforeAll(async () => {
  await requireProgram('curl');
  environFolder = disposables.use(await createDataFolder()).path;
  stack = disposables.use(await createStack('redis', { AGENTA_AUTH_KEY: adminKey, SWEEP_INTERVAL: '3600' }));
  posthorn = disposables.use(await startOn(stack));
  pipelines = disposables.use(openPipelines(stack.env['DATABASE_URL'] ?? ''));
  url = new URL(posthorn.graphqlUrl).origin;
});
afterAll(async () => await disposables.disposeAsync());

/** A file as the kernel shows a process's environment. */
async function environWith(variables: Record<string, string>): Promise<string> {
  const file = path.join(environFolder, randomBytes(8).toString('hex'));
  const entries = Object.entries(variables).map(([name, value]) => `${name}=${value}\0`);
  await writeFile(file, entries.join(''));
  return file;
}

/** Runs a script to its end. */
async function run(
  script: string,
  variables: Record<string, string>,
  { to = url, args = [] }: { to?: string; args?: string[] } = {},
): Promise<{ code: number; out: string; errors: string }> {
  const { PATH = '' } = process.env;
  const env = { PATH, POSTHORN_URL: to, POSTHORN_ENVIRON: await environWith(variables) };
  const child = spawn('sh', [path.join(folder, script), ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const texts = { out: '', errors: '' };
  child.stdout.on('data', (chunk: Buffer) => (texts.out += String(chunk)));
  child.stderr.on('data', (chunk: Buffer) => (texts.errors += String(chunk)));
  const [code] = await once(child, 'close');
  return { code, ...texts };
}

const right = { PATH: '/bin', AGENTA_AUTH_KEY: adminKey, MY_AGENTA_AUTH_KEY: 'not this one' };
const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);

test('webhooks-cleanup.sh removes what ended more than 30 days ago, or as many as it is told', async () => {
  await storeHistory(pipelines, { count: 3, at: daysAgo(31) });
  await storeHistory(pipelines, { count: 2, at: daysAgo(29) });
  const { code, out, errors } = await run('webhooks-cleanup.sh', right);
  expect([code, errors]).toEqual([0, '']);
  expect(out).toMatch(/^webhooks-cleanup: \{"days":30,"eventCount":3,"deliveryCount":3,.*"finished":true\}\n$/);
  expect(await countHistory(pipelines)).toMatchObject({ events: 2, deliveries: 2 });
  expect((await run('webhooks-cleanup.sh', right, { args: ['1'] })).out).toContain('"days":1,"eventCount":2');
});

test('webhooks-retry.sh sends what a dead worker had taken', async () => {
  await using receiver = await startReceiver();
  await using client = createApiClient(posthorn, posthorn.apiKey);
  const { webhook, eventType } = await createWebhook(client, 'Stuck', { url: receiver.url });
  const id = await emitOne(client, eventType);
  await untilStatus(client, id, 'DELIVERED');
  await loseClaims(pipelines, webhook.id, 'DELIVERING');
  const { code, out, errors } = await run('webhooks-retry.sh', right);
  expect([code, errors]).toEqual([0, '']);
  expect(out).toBe('webhooks-retry: {"limit":10000,"enqueuedCount":1}\n');
  await receiver.waitFor(2);
});

const scripts = ['webhooks-cleanup.sh', 'webhooks-retry.sh'];

test.each(scripts)('%s fails with a clear line on a wrong key', async (script) => {
  const { code, out, errors } = await run(script, { AGENTA_AUTH_KEY: 'wrong' });
  expect([code, out]).toEqual([1, '']);
  expect(errors).toContain('401');
  expect(errors).toContain('This admin key is not valid.');
});

test.each(scripts)('%s fails with a clear line without a key, and asks nobody', async (script) => {
  for (const variables of [{}, { AGENTA_AUTH_KEY: '' }]) {
    const { code, out, errors } = await run(script, variables);
    expect([code, out]).toEqual([1, '']);
    expect(errors).toMatch(/^webhooks-\w+: no AGENTA_AUTH_KEY in \S+\n$/);
  }
});

test.each(scripts)('%s fails with a clear line when nobody answers', async (script) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  server.close();
  await once(server, 'close');
  const { code, errors } = await run(script, right, { to: `http://127.0.0.1:${port}` });
  expect([code, errors]).toEqual([1, expect.stringMatching(/^webhooks-\w+: http:\S+: curl: \(7\)/)]);
});

test('webhooks-cleanup.sh calls again until the cleanup has come to its end', async () => {
  let callCount = 0;
  const server = createServer((request, response) => {
    callCount += 1;
    const isAuthorized = request.headers.authorization === `Access ${adminKey}`;
    response.writeHead(isAuthorized ? 200 : 401).end(JSON.stringify({ finished: callCount === 3 }));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  const { code, out } = await run('webhooks-cleanup.sh', right, { to: `http://127.0.0.1:${port}` });
  server.close();
  expect([code, callCount, out.trim().split('\n').length]).toEqual([0, 3, 3]);
});

/** Whether a cron field holds only values, ranges and steps from `min` to `max`. Source: crontab(5). */
function isCronField(field: string, [min, max]: readonly [number, number]): boolean {
  return field.split(',').every((part) => {
    const [, from, to, step] = /^(?:\*|(\d+)(?:-(\d+))?)(?:\/(\d+))?$/.exec(part) ?? [part, '-1'];
    const values = [from, to].filter((value) => value !== undefined).map(Number);
    return values.every((value) => value >= min && value <= max) && (step === undefined || Number(step) > 0);
  });
}

test('the crontab has two lines of five fields, a user, and a script that exists', async () => {
  const text = await readFile(path.join(folder, 'webhooks.txt'), 'utf8');
  expect(text.endsWith('\n')).toBe(true); // cron passes over a last line without an end
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  expect(lines).toHaveLength(2);
  const ranges = [
    [0, 59],
    [0, 23],
    [1, 31],
    [1, 12],
    [0, 7],
  ] as const;
  for (const line of lines) {
    const [, fields = '', user, script = ''] =
      /^((?:\S+ ){5})(\w+) sh \/([\w-]+\.sh) >> \/proc\/1\/fd\/1 2>&1$/.exec(line) ?? [];
    expect(
      fields
        .trim()
        .split(' ')
        .map((field, index) => isCronField(field, ranges[index] ?? [0, -1])),
    ).toEqual(ranges.map(() => true));
    expect(user).toBe('root');
    await access(path.join(folder, script));
  }
});
