import { request as httpRequest } from 'node:http';
import { connect, createServer } from 'node:net';
import { once } from 'node:events';
import { getIntrospectionQuery } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { post, startTestGateway, until } from '../support/gateway-fixture.ts';
import type { Socket } from 'node:net';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

let gateway: GatewayFixture;

beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(async () => await gateway[Symbol.asyncDispose]());

const get = async (query: string, headers: Record<string, string>): Promise<Response> =>
  await fetch(`${gateway.url}/graphql?query=${encodeURIComponent(query)}`, { headers });

const code = (answer: { body: { errors?: { extensions?: { code?: string } }[] } }) =>
  answer.body.errors?.map((error) => error.extensions?.code);

test('a POST answers a query with variables', async () => {
  const answer = await post(gateway, { query: 'query Q($n: String) { hello(name: $n) }', variables: { n: 'you' } });
  expect(answer.status).toBe(200);
  expect(answer.body).toEqual({ data: { hello: 'hello you' } });
});

test('a GET answers a query when no other site could have sent it, and never a mutation', async () => {
  const answer = await get('{ hello }', { 'x-requested-with': 'test' });
  expect(await answer.json()).toEqual({ data: { hello: 'hello world' } });
  expect((await get('{ hello }', {})).status).toBe(400);
  const mutation = await get('mutation { rename(name: "x") }', { 'x-requested-with': 'test' });
  expect(mutation.status).toBe(405);
});

test('a POST that a form on another site could send is refused', async () => {
  for (const type of [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data',
    'application/graphql',
  ]) {
    const answer = await post(gateway, '{"query":"{ hello }"}', { 'content-type': type });
    expect(answer.status).toBe(415);
    expect(code(answer)).toEqual(['BAD_USER_INPUT']);
  }
});

test('a batch is refused', async () => {
  const answer = await post(gateway, JSON.stringify([{ query: '{ hello }' }, { query: '{ hello }' }]));
  expect(answer.status).toBe(400);
  expect(code(answer)).toEqual(['BAD_USER_INPUT']);
});

test('a body over 1 MiB is refused with 413, with and without a declared length', async () => {
  const body = JSON.stringify({ query: '{ hello }', variables: { x: 'x'.repeat(1024 * 1024) } });
  expect((await post(gateway, body)).status).toBe(413);
  const chunked = httpRequest(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'transfer-encoding': 'chunked' },
  });
  chunked.on('error', () => undefined);
  chunked.end(body);
  const [response] = await once(chunked, 'response');
  expect(response.statusCode).toBe(413);
  response.resume();
  expect((await post(gateway, { query: '{ hello }' })).status).toBe(200);
});

test('what cannot be parsed or validated is BAD_USER_INPUT, the second time too', async () => {
  for (const query of ['{ nope', '{ nope }', 'query A { hello } query B { hello }', '{ hello(name: 1) }']) {
    for (let round = 0; round < 2; round += 1) {
      const answer = await post(gateway, { query });
      expect([query, code(answer)]).toEqual([query, ['BAD_USER_INPUT']]);
    }
  }
  const wrong = await post(gateway, { query: 'query Q($n: String) { hello(name: $n) }', variables: { n: 1 } });
  expect(code(wrong)).toEqual(['BAD_USER_INPUT']);
  expect(code(await post(gateway, '{"query":'))).toEqual(['BAD_USER_INPUT']);
  const logged = gateway.logs().filter(({ errorCodes }) => JSON.stringify(errorCodes) === '["BAD_USER_INPUT"]');
  expect(logged.length).toBeGreaterThanOrEqual(9);
});

test('an operation too deep, too long or with too many aliases is QUERY_TOO_COMPLEX', async () => {
  const deep = `{ ${'deep { '.repeat(12)} hello ${'}'.repeat(12)} }`;
  const aliases = `{ ${Array.from({ length: 51 }, (_, index) => `a${index}: hello`).join(' ')} }`;
  const long = `{ ${'hello '.repeat(5_000)} }`;
  const bottomless = [4_000, 100_000].map((levels) => '{a'.repeat(levels));
  const deepButWhole = `${'{ deep '.repeat(1_600)} { hello } ${'}'.repeat(1_600)}`;
  for (const query of [deep, aliases, long, deepButWhole, ...bottomless])
    expect(code(await post(gateway, { query }))).toEqual(['QUERY_TOO_COMPLEX']);
  const allowed = `{ ${'deep { '.repeat(11)} hello ${'}'.repeat(11)} }`;
  expect((await post(gateway, { query: allowed })).body.errors).toBeUndefined();
});

test('without a key the caller is nobody: introspection answers, what needs a key does not', async () => {
  const introspection = await post(gateway, { query: getIntrospectionQuery() });
  expect(introspection.body.errors).toBeUndefined();
  const answer = await post(gateway, { query: '{ who secret }' });
  expect(code(answer)).toEqual(['UNAUTHENTICATED']);
});

test('a good key is its project, looked up once; a wrong one is 401 before anything else is looked at', async () => {
  const before = gateway.lookups();
  const good = await post(gateway, { query: '{ who again: who }' }, { authorization: 'Bearer good' });
  expect(good.body.data?.['who']).toBe('project of good');
  expect(gateway.lookups()).toBe(before + 1);
  for (const authorization of ['Bearer bad', 'Basic Z29vZA==', 'good']) {
    const answer = await post(gateway, { query: '{ nope' }, { authorization });
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toBe('Bearer');
    expect(code(answer)).toEqual(['UNAUTHENTICATED']);
  }
});

test('an error with a code reaches the caller, a crash is masked with the request id and logged whole', async () => {
  const found = await post(gateway, { query: '{ notFound }' });
  expect(found.body.errors?.[0]).toMatchObject({ message: 'no such thing', extensions: { code: 'NOT_FOUND' } });

  const crash = await post(gateway, { query: '{ crash }' }, { 'x-request-id': 'crash-1' });
  expect(crash.status).toBe(200);
  expect(crash.body.errors?.[0]).toMatchObject({
    message: 'Unexpected error',
    path: ['crash'],
    extensions: { code: 'INTERNAL', requestId: 'crash-1' },
  });
  expect(JSON.stringify(crash.body)).not.toContain('hunter2');
  const logged = gateway.logs().find((line) => line['requestId'] === 'crash-1' && line['level'] === 50);
  expect(JSON.stringify(logged)).toContain('hunter2');

  const library = await post(gateway, { query: '{ crashNonNull }' });
  expect(library.body.errors).toHaveLength(1);
  expect(library.body.errors?.[0]).toMatchObject({ message: 'Unexpected error', extensions: { code: 'INTERNAL' } });

  const down = await post(gateway, { query: '{ hello }' }, { authorization: 'Bearer down', 'x-request-id': 'down-1' });
  expect(down.status).toBe(500);
  expect(down.body.errors?.[0]?.extensions).toEqual({ code: 'INTERNAL', requestId: 'down-1' });
});

test('a request id comes in, goes to resolvers and comes out; an unprintable or long one is replaced', async () => {
  const given = await post(gateway, { query: '{ requestId }' }, { 'x-request-id': 'abc-123' });
  expect(given.headers.get('x-request-id')).toBe('abc-123');
  expect(given.body.data?.['requestId']).toBe('abc-123');
  for (const bad of ['x'.repeat(129), 'a b', 'é']) {
    const answer = await post(gateway, { query: '{ requestId }' }, { 'x-request-id': bad });
    expect(answer.body.data?.['requestId']).toMatch(/^[0-9a-f-]{36}$/);
    expect(answer.headers.get('x-request-id')).toBe(answer.body.data?.['requestId']);
  }
});

test('every operation writes one line, without payload and without key', async () => {
  const query = 'mutation Rename($n: String!) { rename(name: $n) }';
  const headers = { authorization: 'Bearer good', 'x-request-id': 'line-1' };
  await post(gateway, { query, variables: { n: 'private-payload' } }, headers);
  const lines = () => gateway.logs().filter((line) => line['requestId'] === 'line-1');
  await until(() => lines().length > 0);
  expect(lines()).toHaveLength(1);
  expect(lines()[0]).toMatchObject({
    transport: 'http',
    operationName: 'Rename',
    operationType: 'mutation',
    projectId: 'project of good',
    errorCodes: [],
    durationMs: expect.any(Number),
  });
  expect(JSON.stringify(gateway.logs())).not.toMatch(/private-payload|Bearer/);
});

test('200 queries at once are all answered, each with its own request id', async () => {
  const answers = await Promise.all(
    Array.from({ length: 200 }, async (_, index) => {
      const headers = { 'x-request-id': `many-${index}`, authorization: `Bearer ${index % 2 ? 'good' : 'other'}` };
      return await post(gateway, { query: '{ requestId who }' }, headers);
    }),
  );
  expect(answers.map(({ body }) => body.data)).toEqual(
    answers.map((_, index) => ({ requestId: `many-${index}`, who: `project of ${index % 2 ? 'good' : 'other'}` })),
  );
});

test('/health says that the process lives, elsewhere is 404 in JSON, and a browser at / is sent to /graphql', async () => {
  const health = await fetch(`${gateway.url}/health`);
  expect([health.status, await health.json()]).toEqual([200, { status: 'ok' }]);
  const missing = await fetch(`${gateway.url}/nope`);
  expect(missing.status).toBe(404);
  expect(await missing.json()).toMatchObject({ errors: [{ extensions: { code: 'NOT_FOUND' } }] });
  const home = await fetch(gateway.url, { headers: { accept: 'text/html' }, redirect: 'manual' });
  expect([home.status, home.headers.get('location')]).toEqual([302, '/graphql']);
  expect((await fetch(`${gateway.url}/constructor`)).status).toBe(404);
});

test('/ready asks every check each time, each has a limit, and only the database decides whether there is an answer of use', async () => {
  await using slow = await startTestGateway({ readyCheckMs: 50 });
  const ask = async () => {
    const response = await fetch(`${slow.url}/ready`);
    return [response.status, await response.json()];
  };
  const ok = { database: 'ok', queue: 'ok', feed: 'ok' };
  expect(await ask()).toEqual([200, { status: 'ready', checks: ok }]);
  slow.checks.queue = async () => {
    throw new Error('connection refused at 10.0.0.1');
  };
  slow.checks.feed = async () => await new Promise(() => {});
  const results = { database: 'ok', queue: 'failed', feed: 'timeout' };
  expect(await ask()).toEqual([200, { status: 'degraded', checks: results }]);
  slow.checks.database = slow.checks.queue;
  expect(await ask()).toEqual([503, { status: 'not ready', checks: { ...results, database: 'failed' } }]);
});

test('a taken port is one sentence that names host and port', async () => {
  const blocker = createServer().listen(0, '127.0.0.1');
  await once(blocker, 'listening');
  const { port } = blocker.address() as { port: number };
  const started = startTestGateway({}, { port });
  await expect(started).rejects.toMatchObject({
    message: `Posthorn cannot listen on 127.0.0.1 port ${port}: something else listens there already.`,
    cause: { code: 'EADDRINUSE' },
  });
  blocker.close();
});

test('stopping answers what is under way, takes nothing new, and is done', async () => {
  const stopped = await startTestGateway();
  const held = post(stopped, { query: '{ held }' });
  await until(async () => (await post(stopped, { query: '{ hello }' })).status === 200);
  const stopping = stopped[Symbol.asyncDispose]();
  await expect(fetch(`${stopped.url}/health`, { headers: { connection: 'close' } })).rejects.toThrow('fetch failed');
  stopped.release();
  expect((await held).body.data).toEqual({ held: 'released' });
  await stopping;
});

test('stopping does not wait for ever for an answer', async () => {
  const stopped = await startTestGateway({ stopMs: 50 });
  const held = post(stopped, { query: '{ held }' });
  held.catch(() => undefined);
  await until(async () => (await post(stopped, { query: '{ hello }' })).status === 200);
  await stopped[Symbol.asyncDispose]();
  await expect(held).rejects.toThrow('fetch failed');
});

const answerBytes = 40_000_000;

/** Asks for an answer that no kernel takes whole, and reads nothing of it. */
async function askAndReadNothing(of: GatewayFixture): Promise<Socket> {
  const socket = connect(of.port, '127.0.0.1');
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.pause();
  const body = JSON.stringify({ query: `{ large(bytes: ${answerBytes}) }` });
  socket.write(
    `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nauthorization: Bearer good\r\n` +
      `content-length: ${body.length}\r\n\r\n${body}`,
  );
  return socket;
}

const hasEnded = ({ logs }: GatewayFixture): boolean => logs().some(({ msg }) => msg === 'graphql operation');

test('a reader that takes nothing of its answer is cut off', async () => {
  await using small = await startTestGateway({ answerStalledMs: 150 });
  const socket = await askAndReadNothing(small);
  await until(() => hasEnded(small));
  let received = 0;
  socket.on('data', (chunk: Buffer) => (received += chunk.length));
  socket.resume();
  await once(socket, 'close');
  expect(received).toBeLessThan(answerBytes);
});

test('a reader that takes longer than the limit, but goes on, gets all of its answer', async () => {
  await using small = await startTestGateway({ answerStalledMs: 500 });
  const socket = await askAndReadNothing(small);
  const startedAt = performance.now();
  let received = 0;
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    socket.pause();
    setTimeout(() => socket.resume(), 2);
  });
  socket.resume();
  await until(() => received > answerBytes, 15_000);
  expect(performance.now() - startedAt).toBeGreaterThan(500);
  socket.destroy();
});

test('answers that nobody reads keep a project from more of them, and nobody else', async () => {
  await using small = await startTestGateway({ pointsInFlightMax: 2, pointsWaitMs: 50 });
  const sockets = [await askAndReadNothing(small), await askAndReadNothing(small)];
  const ask = async (key: string): Promise<unknown> => {
    const { status, headers, body } = await post(small, { query: '{ hello }' }, { authorization: `Bearer ${key}` });
    return [status, headers.get('retry-after'), body.errors?.[0]?.extensions?.code];
  };
  await until(async () => String(await ask('good')) === '429,1,RATE_LIMITED');
  const client = small.client({ authorization: 'Bearer good' });
  const refused = await new Promise((resolve) => {
    client.subscribe({ query: '{ hello }' }, { next: resolve, error: resolve, complete() {} });
  });
  expect(refused).toMatchObject([{ extensions: { code: 'RATE_LIMITED' } }]);
  await client.dispose();
  expect(await ask('other')).toEqual([200, null, undefined]);
  for (const socket of sockets) socket.destroy();
  await until(async () => String(await ask('good')) === '200,,');
});
