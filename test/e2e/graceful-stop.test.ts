import { Agent, request } from 'node:http';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { print } from 'graphql';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { FeedOrderDocument, ProjectDocument, TestWebhookDocument } from '../generated/graphql.ts';
import { createWebhook, emitOne, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { startMortalPostgres } from '../support/mortal-postgres.ts';
import { runPosthorn } from '../support/posthorn.ts';
import { startReceiver } from '../support/receiver.ts';
import { startTestRedis } from '../support/redis.ts';
import { createSharedStack, startRole } from '../support/roles.ts';
import type { Role, SharedStack } from '../support/roles.ts';

/** An idle process stops in a moment; a second more than its longest request otherwise. */
const stopLimitMs = 10_000;
/** What a server that does not answer adds to that: its connections are given some seconds to close. */
const awayStopLimitMs = 20_000;
const endedWell = { code: 0, signal: null };

let stack: SharedStack;

beforeAll(async () => {
  stack = await createSharedStack({ WEBHOOK_TIMEOUT: '2' });
});

afterAll(async () => await stack[Symbol.asyncDispose]());

function pathOf(role: Role, path: string): string {
  return new URL(path, role.endpoint.graphqlUrl).href;
}

async function statusOf(role: Role, path: string): Promise<number | null> {
  const answer = await fetch(pathOf(role, path)).catch(() => null);
  return answer?.status ?? null;
}

async function untilRetired(role: Role): Promise<void> {
  await untilFound('the gateway not to be ready', async () => ((await statusOf(role, '/ready')) === 200 ? null : true));
}

/** A connection that was used once and is kept. */
async function openIdleConnection(role: Role, agent: Agent): Promise<Socket> {
  const outgoing = request(pathOf(role, '/health'), { agent }).end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  const { socket } = response;
  response.resume();
  await once(response, 'end');
  return socket;
}

/** A subscription whose socket is told nothing of, so that it neither reads nor answers a close. */
async function openDeafSocket(role: Role): Promise<WebSocket> {
  const opened = Promise.withResolvers<WebSocket>();
  const client = createClient({
    url: role.endpoint.websocketUrl,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${stack.apiKey}` },
    retryAttempts: 0,
    on: { connected: (socket) => opened.resolve(socket as WebSocket) },
  });
  client.subscribe(
    { query: print(FeedOrderDocument) },
    { next: () => undefined, error: () => undefined, complete: () => undefined },
  );
  const socket = await opened.promise;
  socket.pause();
  return socket;
}

/** Resolves with the code that the server closes the socket with. */
async function closeCodeOf(role: Role): Promise<{ code: Promise<number> }> {
  const socket = new WebSocket(role.endpoint.websocketUrl, 'graphql-transport-ws');
  const closed = once(socket, 'close').then(([code]) => Number(code));
  await once(socket, 'open');
  return { code: closed };
}

async function openEventStream(role: Role): Promise<{ ended: Promise<void> }> {
  const response = await fetch(role.endpoint.graphqlUrl, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${stack.apiKey}`,
    },
    body: JSON.stringify({ query: print(FeedOrderDocument) }),
  });
  expect(response.status).toBe(200);
  return { ended: response.text().then(ignoreText, ignoreText) };
}

function ignoreText(): void {}

describe('a gateway alone', () => {
  test('SIGTERM: answers what is under way, closes whatever else is open, and exits with 0', async () => {
    await using gateway = await startRole('gateway', stack.env);
    await using worker = await startRole('worker', { ...stack.env, WEBHOOK_TIMEOUT: '30' });
    const asked = Promise.withResolvers<void>();
    const answered = Promise.withResolvers<void>();
    await using receiver = await startReceiver(async () => {
      asked.resolve();
      await answered.promise;
      return {};
    });
    await using client = createApiClient(gateway.endpoint, stack.apiKey);
    const { webhook } = await createWebhook(client, 'Under way', { url: receiver.url });
    using agent = disposable(new Agent({ keepAlive: true }));
    const idle = await openIdleConnection(gateway, agent.agent);
    const idleClosed = once(idle, 'close');
    const { code } = await closeCodeOf(gateway);
    const deaf = await openDeafSocket(gateway);
    const stream = await openEventStream(gateway);
    const operation = client.run(TestWebhookDocument, { id: webhook.id });
    await asked.promise;

    const ended = gateway.end();
    await Promise.all([idleClosed, stream.ended, code.then((value) => expect(value).toBe(1001))]);
    answered.resolve();
    expect((await operation).testWebhook.attempt?.responseStatus).toBe(200);
    const askedAt = performance.now();
    expect(await ended).toEqual(endedWell);
    expect(performance.now() - askedAt).toBeLessThan(stopLimitMs);
    deaf.terminate();
    expect(worker.process.exitCode).toBeNull();
  });

  test('with POSTHORN_STOP_DELAY is not ready but serves on for so long, and asks clients to connect elsewhere', async () => {
    await using gateway = await startRole('gateway', { ...stack.env, POSTHORN_STOP_DELAY: '1.5' });
    await using client = createApiClient(gateway.endpoint, stack.apiKey);
    const askedAt = performance.now();
    const ended = gateway.end();
    await untilRetired(gateway);
    const answer = await fetch(pathOf(gateway, '/ready'));
    expect([answer.status, await answer.json()]).toEqual([503, { status: 'stopping' }]);
    expect(answer.headers.get('connection')).toBe('close');
    expect((await client.run(ProjectDocument, {})).project.name).toBe('Shared');
    expect(await ended).toEqual(endedWell);
    expect(performance.now() - askedAt).toBeGreaterThan(1_500);
  });

  test('a second signal ends it at once', async () => {
    await using gateway = await startRole('gateway', { ...stack.env, POSTHORN_STOP_DELAY: '60' });
    void gateway.end();
    await untilRetired(gateway);
    gateway.process.kill('SIGTERM');
    expect(await gateway.ended).toEqual({ code: 130, signal: null });
  });
});

describe('a worker alone', () => {
  test('SIGTERM: records what its receivers did not answer in time, gives back the rest, and exits with 0', async () => {
    await using gateway = await startRole('gateway', stack.env);
    await using worker = await startRole('worker', { ...stack.env, WORKER_MAX_IN_FLIGHT: '2' });
    await using receiver = await startReceiver(() => ({ hang: true }));
    await using client = createApiClient(gateway.endpoint, stack.apiKey);
    const { eventType } = await createWebhook(client, 'Hanging', { url: receiver.url, maxAttempts: 1 });
    const ids = await Promise.all(Array.from({ length: 6 }, async () => await emitOne(client, eventType)));
    await receiver.waitFor(2);
    const askedAt = performance.now();
    expect(await worker.end()).toEqual(endedWell);
    expect(performance.now() - askedAt).toBeLessThan(stopLimitMs);
    const sentIds = new Set(receiver.requests.map(({ headers }) => headers['x-posthorn-delivery']));
    for (const id of ids) {
      const delivery = await untilStatus(client, id, sentIds.has(id) ? 'FAILED' : 'PENDING');
      expect(delivery.attemptCount).toBe(sentIds.has(id) ? 1 : 0);
    }
  });
});

describe.each(['killed', 'frozen'] as const)('with a durable Redis that is %s', (how) => {
  test.each(['gateway', 'worker'] as const)('SIGTERM ends a %s with 0 all the same', async (command) => {
    await using redis = await startTestRedis();
    await using role = await startRole(command, { ...stack.env, REDIS_URI_DURABLE: redis.url });
    if (how === 'killed') await redis.kill();
    else redis.freeze();
    const startedAtMs = performance.now();
    expect(await role.end()).toEqual(endedWell);
    expect(performance.now() - startedAtMs).toBeLessThan(awayStopLimitMs);
  });
});

test.each(['gateway', 'worker'] as const)('SIGTERM ends a %s with 0 while Postgres is frozen', async (command) => {
  await using postgres = await startMortalPostgres();
  const env = { ...stack.env, DATABASE_URL: postgres.url };
  const migrated = runPosthorn(['migrate'], env);
  expect(await migrated.ended).toEqual(endedWell);
  await using role = await startRole(command, env);
  await postgres.pause();
  const startedAtMs = performance.now();
  expect(await role.end()).toEqual(endedWell);
  expect(performance.now() - startedAtMs).toBeLessThan(awayStopLimitMs);
  await postgres.resume();
});

describe.each(['gateway', 'worker'] as const)('an error that nobody handles in a %s', (command) => {
  test.each([
    ['unhandledRejection', 'Promise.reject(new Error("nobody waits for this"))'],
    ['uncaughtException', 'setImmediate(() => { throw new Error("nobody waits for this"); })'],
  ])('ends it with 1, and the last line of its log says why (%s)', async (origin, statement) => {
    // What goes wrong comes from outside, by a signal, since nothing of ours does this on purpose.
    const script = `data:text/javascript,process.on('SIGUSR2', () => { ${statement}; })`;
    await using role = await startRole(command, {
      ...stack.env,
      NODE_OPTIONS: `--import=${encodeURI(script).replaceAll('"', '%22')}`,
    });
    role.process.kill('SIGUSR2');
    expect(await role.ended).toEqual({ code: 1, signal: null });
    expect(JSON.parse(role.output().trim().split('\n').at(-1) ?? '')).toMatchObject({
      level: 60,
      origin,
      err: { message: 'nobody waits for this' },
    });
  });
});

function disposable(agent: Agent): { agent: Agent } & Disposable {
  return { agent, [Symbol.dispose]: () => agent.destroy() };
}
