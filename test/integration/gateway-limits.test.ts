import { createHash } from 'node:crypto';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildSchema, getIntrospectionQuery } from 'graphql';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { loadPersistedOperations } from '../../src/gateway/persisted-operations.ts';
import { createInProcessRateLimit } from '../../src/rate-limit/in-process-rate-limit.ts';
import { post, startTestGateway, until } from '../support/gateway-fixture.ts';
import type { FormattedExecutionResult, GraphQLFormattedError } from 'graphql';
import type { Client, SubscribePayload } from 'graphql-ws';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

interface Answer extends FormattedExecutionResult {
  ended: readonly GraphQLFormattedError[] | null;
}

/** Runs an operation over a socket to its end. */
async function run(client: Client, payload: SubscribePayload): Promise<Answer> {
  const results: object[] = [];
  const ended = await new Promise<Answer['ended']>((resolve) => {
    client.subscribe(payload, {
      next: (result) => results.push(result),
      error: (errors) => resolve(Array.isArray(errors) ? errors : [{ message: String(errors) }]),
      complete: () => resolve(null),
    });
  });
  return { ...results.at(-1), ended };
}

const good = { authorization: 'Bearer good' };
const codes = (errors: readonly GraphQLFormattedError[] | null | undefined): unknown[] =>
  (errors ?? []).map(({ extensions }) => extensions?.['code']);
const renames = (count: number): string =>
  `mutation { ${Array.from({ length: count }, (_, index) => `r${index}: rename(name: "x")`).join(' ')} }`;

test('an operation that costs too much is QUERY_TOO_COMPLEX with its cost, on either transport, whatever was cached', async () => {
  await using gateway = await startTestGateway({ costMax: 50 });
  await using client = closing(gateway.client(good));
  expect((await post(gateway, { query: renames(5) }, good)).body.errors).toBeUndefined();
  const message =
    'This operation costs 60 points; at most 50 are allowed. Ask for smaller pages, or for less within them.';
  for (let round = 0; round < 2; round += 1) {
    const { status, body } = await post(gateway, { query: renames(6) }, good);
    expect([status, body.errors]).toEqual([200, [{ message, extensions: { code: 'QUERY_TOO_COMPLEX' } }]]);
    expect((await run(client.it, { query: renames(6) })).ended).toEqual(body.errors);
  }
});

test('a subscription may cost less than what is executed once, on either transport', async () => {
  await using gateway = await startTestGateway({ subscriptionCostMax: 9 });
  await using client = closing(gateway.client(good));
  const query = 'subscription { count(to: 3) }';
  expect((await post(gateway, { query: renames(2) }, good)).body.errors).toBeUndefined();
  expect(codes((await run(client.it, { query })).ended)).toEqual(['QUERY_TOO_COMPLEX']);
  const events = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { ...good, 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query }),
  });
  expect(await events.text()).toContain('at most 9 are allowed');
  expect(gateway.counters.opened).toBe(0);
});

test('a key spends points, is told what is left on either transport, and is refused when they are gone', async () => {
  const limit = createInProcessRateLimit();
  await using gateway = await startTestGateway({}, { rate: { limit, pointsPerMinute: 100 } });
  await using client = closing(gateway.client(good));
  const first = await post(gateway, { query: renames(4) }, good);
  const rateLimit = { limit: 100, remaining: 60, cost: 40, resetAt: expect.stringMatching(/^\d{4}-.*Z$/) };
  expect(first.body).toMatchObject({ extensions: { rateLimit } });
  const second = await run(client.it, { query: renames(5) });
  expect(second).toMatchObject({ ended: null, extensions: { rateLimit: { cost: 50 } } });

  const refused = await post(gateway, { query: renames(3) }, good);
  expect(refused.status).toBe(429);
  expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(5);
  expect(Number(refused.headers.get('retry-after'))).toBeLessThanOrEqual(12);
  expect(codes(refused.body.errors)).toEqual(['RATE_LIMITED']);
  expect(refused.body).toMatchObject({ extensions: { rateLimit: { limit: 100, cost: 30 } } });
  for (const query of [renames(3), renames(4)]) {
    const { ended } = await run(client.it, { query });
    expect(codes(ended)).toEqual(['RATE_LIMITED']);
    expect(ended?.[0]?.extensions?.['rateLimit']).toMatchObject({ limit: 100 });
  }

  const other = await post(gateway, { query: renames(3) }, { authorization: 'Bearer other' });
  expect(other.body).toMatchObject({ extensions: { rateLimit: { remaining: 70 } } });
  const nobody = await post(gateway, { query: renames(3) });
  expect([nobody.status, 'extensions' in nobody.body]).toEqual([200, false]);
});

test('a subscription is charged when it starts, and refused before it does', async () => {
  const limit = createInProcessRateLimit();
  await using gateway = await startTestGateway({}, { rate: { limit, pointsPerMinute: 15 } });
  await using client = closing(gateway.client(good));
  expect((await run(client.it, { query: 'subscription { count(to: 3) }' })).ended).toBeNull();
  const { opened } = gateway.counters;
  expect(codes((await run(client.it, { query: 'subscription { count(to: 3) }' })).ended)).toEqual(['RATE_LIMITED']);
  const events = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { ...good, 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ query: 'subscription { count(to: 3) }' }),
  });
  expect(await events.text()).toContain('"RATE_LIMITED"');
  expect(gateway.counters.opened).toBe(opened);
});

test('what cannot be charged for in a minute at all is too complex, not to be tried again', async () => {
  const limit = createInProcessRateLimit();
  await using gateway = await startTestGateway({}, { rate: { limit, pointsPerMinute: 15 } });
  expect(codes((await post(gateway, { query: renames(2) }, good)).body.errors)).toEqual(['QUERY_TOO_COMPLEX']);
});

test('what a subscription keeps in memory is bounded, for each and for all of a project, and given back', async () => {
  await using gateway = await startTestGateway({
    subscriptionCharactersMax: 1_000,
    subscriptionCharactersPerProjectMax: 1_500,
  });
  await using client = closing(gateway.client(good));
  const query = 'subscription { forever }';
  const commented = (comment: string): string => `${query} # ${comment.padEnd(600)}`;
  for (const payload of [{ query: commented('x'.repeat(1_000)) }, { query, variables: { x: 'x'.repeat(1_000) } }]) {
    expect(codes((await run(client.it, payload)).ended)).toEqual(['QUERY_TOO_COMPLEX']);
  }
  const open = (text: string): (() => void) =>
    client.it.subscribe({ query: text }, { next() {}, error() {}, complete() {} });
  // The same text is kept once, whoever asks.
  const stops = ['one', 'one', 'one', 'other'].map((comment) => open(commented(comment)));
  await until(() => gateway.counters.pulled === 4);
  expect(codes((await run(client.it, { query: commented('third') })).ended)).toEqual(['RATE_LIMITED']);
  await using stranger = closing(gateway.client({ authorization: 'Bearer other' }));
  expect((await run(stranger.it, { query: 'subscription { count(to: 1) }' })).ended).toBeNull();
  for (const stop of stops) stop();
  await until(() => gateway.counters.returned === 4);
  open(commented('third'));
  await until(() => gateway.counters.pulled === 6);
});

test('a project has so many subscriptions at once, over sockets and event streams together, and gets them back', async () => {
  await using gateway = await startTestGateway({ subscriptionsPerProjectMax: 2 });
  await using client = closing(gateway.client(good));
  const query = 'subscription { forever }';
  const stop = client.it.subscribe({ query }, { next() {}, error() {}, complete() {} });
  const aborted = new AbortController();
  const stream = async (signal?: AbortSignal): Promise<Response> =>
    await fetch(`${gateway.url}/graphql`, {
      method: 'POST',
      headers: { ...good, 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({ query }),
      ...(signal ? { signal } : {}),
    });
  await stream(aborted.signal);
  await until(() => gateway.counters.pulled === 2);
  expect(codes((await run(client.it, { query })).ended)).toEqual(['RATE_LIMITED']);
  expect(await (await stream()).text()).toContain('"RATE_LIMITED"');
  await using other = closing(gateway.client({ authorization: 'Bearer other' }));
  expect((await run(other.it, { query: 'subscription { count(to: 1) }' })).ended).toBeNull();

  const isFree = async (): Promise<boolean> =>
    (await run(client.it, { query: 'subscription { count(to: 1) }' })).ended === null;
  stop();
  await until(isFree);
  client.it.subscribe({ query }, { next() {}, error() {}, complete() {} });
  await until(() => gateway.counters.pulled >= 4);
  expect(await isFree()).toBe(false);
  aborted.abort();
  await until(isFree);
});

test('a schema that may not be asked for is not told, on either transport, not even by what errors suggest', async () => {
  await using gateway = await startTestGateway({}, { introspection: false });
  await using client = closing(gateway.client(good));
  for (const query of ['{ __schema { types { name } } }', '{ hello __type(name: "Query") { name } }']) {
    const { body } = await post(gateway, { query }, good);
    expect(codes(body.errors)).toEqual(['FORBIDDEN']);
    expect((await run(client.it, { query })).ended).toEqual(body.errors);
  }
  expect(codes((await post(gateway, { query: getIntrospectionQuery() })).body.errors)).toEqual(['FORBIDDEN']);
  const misspelt = await post(gateway, { query: '{ helo }' });
  expect(misspelt.body.errors?.[0]?.message).toBe('Cannot query field "helo" on type "Query".');
  expect((await post(gateway, { query: '{ __typename hello }' })).body.errors).toBeUndefined();
});

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const helloQuery = 'query Hello($name: String) { hello(name: $name) }';
const countQuery = 'subscription Count { count(to: 2) }';

test('with a list of operations only those are executed, by any of the customary names, on every transport', async () => {
  const persistedOperations = new Map([helloQuery, countQuery].map((text) => [sha256(text), text]));
  await using gateway = await startTestGateway({}, { persistedOperations });
  await using client = closing(gateway.client(good));
  const hash = sha256(helloQuery);
  const variables = { name: 'you' };
  const hello = { data: { hello: 'hello you' } };
  const ways = [
    { documentId: hash },
    { documentId: `sha256:${hash}` },
    { extensions: { persistedQuery: { version: 1, sha256Hash: hash } } },
    { extensions: { documentId: `sha256:${hash}` } },
    { query: '{ secret }', documentId: hash },
  ];
  for (const way of ways) {
    expect((await post(gateway, { ...way, variables })).body).toEqual(hello);
    expect(await run(client.it, { query: '', ...way, variables })).toEqual({ ...hello, ended: null });
  }
  const parameters = new URLSearchParams({ documentId: hash, variables: JSON.stringify(variables) });
  const get = async (search: URLSearchParams): Promise<unknown> => {
    const headers = { 'x-requested-with': 'test' };
    return await (await fetch(`${gateway.url}/graphql?${search}`, { headers })).json();
  };
  expect(await get(parameters)).toEqual(hello);
  const extensions = JSON.stringify({ persistedQuery: { sha256Hash: hash } });
  expect(await get(new URLSearchParams({ extensions, variables: JSON.stringify(variables) }))).toEqual(hello);
  const events = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
    body: JSON.stringify({ documentId: sha256(countQuery) }),
  });
  expect(await events.text()).toContain('{"data":{"count":2}}');

  const refusals = [
    { query: '{ hello }' },
    { query: helloQuery },
    { query: '{ __typename }' },
    { query: '', documentId: sha256('{ hello }') },
    { query: '', extensions: { persistedQuery: { sha256Hash: 'constructor' } } },
    { query: '', extensions: { persistedQuery: hash } },
  ];
  for (const refused of refusals) {
    const { body } = await post(gateway, refused);
    expect(codes(body.errors)).toEqual(['PERSISTED_ONLY']);
    expect((await run(client.it, refused)).ended).toEqual(body.errors);
  }
});

test('a file of operations is checked when it is loaded, and what is wrong is named', async () => {
  const schema = buildSchema('type Query { hello(name: String): String! }');
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-operations-'));
  const load = async (content: string): Promise<unknown> => {
    const path = join(folder, 'operations.json');
    await writeFile(path, content);
    return await loadPersistedOperations(path, schema).catch((error: Error) => error.message.replace(path, 'FILE'));
  };
  const wrong = '{ nope }';
  expect(await load(JSON.stringify({ [`sha256:${sha256(helloQuery)}`]: helloQuery }))).toEqual(
    new Map([[sha256(helloQuery), helloQuery]]),
  );
  const name = 'POSTHORN_PERSISTED_OPERATIONS:';
  expect(await load('[]')).toBe(`${name} FILE must be a JSON object of ids to documents.`);
  expect(await load('{')).toContain(`${name} FILE cannot be read: `);
  expect(await load(JSON.stringify({ abc: helloQuery }))).toBe(
    `${name} "abc" in FILE is not the SHA-256 of its document.`,
  );
  expect(await load(JSON.stringify({ [sha256(wrong)]: wrong }))).toBe(
    `${name} "${sha256(wrong)}" in FILE does not fit the schema: Cannot query field "nope" on type "Query".`,
  );
  expect(await load(JSON.stringify({ [sha256('{')]: '{' }))).toContain('cannot be parsed: Syntax Error');
  await expect(loadPersistedOperations(join(folder, 'none.json'), schema)).rejects.toThrow('ENOENT');
});

async function upgrade(gateway: GatewayFixture, origin?: string): Promise<string> {
  const socket = new WebSocket(gateway.websocketUrl, 'graphql-transport-ws', origin === undefined ? {} : { origin });
  const opened = once(socket, 'open').then(() => 'open');
  const refused = await Promise.race([opened, once(socket, 'error').then(([error]) => String(error))]).catch(String);
  socket.terminate();
  return refused;
}

test('without a list of origins, pages of another site cannot open a socket, and our own and programs can', async () => {
  await using gateway = await startTestGateway();
  expect(await upgrade(gateway)).toBe('open');
  expect(await upgrade(gateway, gateway.url)).toBe('open');
  for (const origin of ['https://evil.example', 'null', `http://127.0.0.1:${gateway.port + 1}`, 'nonsense']) {
    expect(await upgrade(gateway, origin)).toContain('403');
  }
  const answer = await post(gateway, { query: '{ hello }' }, { origin: 'https://evil.example' });
  expect(answer.headers.get('access-control-allow-origin')).toBeNull();
  const preflight = await fetch(`${gateway.url}/graphql`, {
    method: 'OPTIONS',
    headers: { origin: 'https://evil.example', 'access-control-request-method': 'POST' },
  });
  expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
});

test('pages of the listed origins can preflight, read and open sockets, and no others', async () => {
  const listed = 'https://app.example.com';
  await using gateway = await startTestGateway({}, { allowedOrigins: [listed] });
  const preflight = async (origin: string): Promise<Response> =>
    await fetch(`${gateway.url}/graphql`, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization,content-type',
      },
    });
  const allowed = await preflight(listed);
  expect(allowed.status).toBe(204);
  expect(allowed.headers.get('access-control-allow-origin')).toBe(listed);
  expect(allowed.headers.get('access-control-allow-headers')).toContain('authorization, content-type');
  expect(allowed.headers.get('vary')).toBe('Origin');
  const refused = await preflight('https://app.example.com.evil.example');
  expect(refused.headers.get('access-control-allow-origin')).toBeNull();
  expect(refused.headers.get('vary')).toBe('Origin');
  const answer = await post(gateway, { query: '{ hello }' }, { origin: listed });
  expect(answer.headers.get('access-control-allow-origin')).toBe(listed);
  expect(answer.headers.get('access-control-expose-headers')).toContain('retry-after');
  expect(answer.headers.get('access-control-allow-credentials')).toBeNull();
  expect(answer.headers.get('vary')).toBe('Origin');
  expect(await upgrade(gateway, listed)).toBe('open');
  expect(await upgrade(gateway, 'http://app.example.com')).toContain('403');
  await using open = await startTestGateway({}, { allowedOrigins: '*' });
  expect(await upgrade(open, 'https://anything.example')).toBe('open');
  const any = await post(open, { query: '{ hello }' }, { origin: 'https://anything.example' });
  expect(any.headers.get('access-control-allow-origin')).toBe('*');
});

test('a GET whose variables are not JSON is the caller’s mistake', async () => {
  await using gateway = await startTestGateway();
  const headers = { 'x-requested-with': 'test', accept: 'application/graphql-response+json' };
  for (const search of ['variables=nope', 'variables=7', 'extensions={']) {
    const answer = await fetch(`${gateway.url}/graphql?query={hello}&${search}`, { headers });
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ errors: [{ extensions: { code: 'BAD_USER_INPUT' } }] });
  }
});

function closing(it: Client): { it: Client } & AsyncDisposable {
  return { it, [Symbol.asyncDispose]: async () => await it.dispose() };
}
