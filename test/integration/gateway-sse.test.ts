import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startTestGateway, until } from '../support/gateway-fixture.ts';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

let gateway: GatewayFixture;

beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(async () => await gateway[Symbol.asyncDispose]());

async function open(
  fixture: GatewayFixture,
  query: string,
  options: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<Response> {
  return await fetch(`${fixture.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream', ...options.headers },
    body: JSON.stringify({ query }),
    signal: options.signal ?? null,
  });
}

/** The events of a whole stream, as an EventSource sees them: comments left out. */
async function events(response: Response): Promise<{ event: string; data: unknown }[]> {
  const blocks = (await response.text()).split('\n\n').filter((block) => block !== '' && !block.startsWith(':'));
  return blocks.map((block) => {
    const fields = new Map(
      block.split('\n').map((line): [string, string] => {
        const colon = line.indexOf(':');
        return [line.slice(0, colon), line.slice(colon + 1).trim()];
      }),
    );
    const data = fields.get('data') ?? '';
    return { event: fields.get('event') ?? 'message', data: data === '' ? null : JSON.parse(data) };
  });
}

const next = (data: unknown) => ({ event: 'next', data });
const complete = { event: 'complete', data: null };

test('a subscription is a stream of next events and one complete', async () => {
  const response = await open(gateway, 'subscription Stream { count(to: 2) }', {
    headers: { authorization: 'Bearer good' },
  });
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toContain('text/event-stream');
  expect(await events(response)).toEqual([next({ data: { count: 1 } }), next({ data: { count: 2 } }), complete]);
  await until(() => gateway.logs().some(({ operationName }) => operationName === 'Stream'));
  const line = gateway.logs().find(({ operationName }) => operationName === 'Stream');
  expect(line).toMatchObject({ transport: 'sse', operationType: 'subscription', projectId: 'project of good' });
});

test('an error in the middle is a last next event with its code; a crash is masked', async () => {
  const expired = await events(await open(gateway, 'subscription { expires }'));
  const error = expect.objectContaining({ message: 'the cursor is too old', extensions: { code: 'CURSOR_EXPIRED' } });
  expect(expired).toEqual([
    next({ data: { expires: 1 } }),
    next({ data: { expires: 2 } }),
    next({ errors: [error] }),
    complete,
  ]);

  const response = await open(gateway, 'subscription { breaks }', { headers: { 'x-request-id': 'sse-1' } });
  const broken = await events(response);
  const masked = { message: 'Unexpected error', extensions: { code: 'INTERNAL', requestId: 'sse-1' } };
  expect(broken).toEqual([
    next({ data: { breaks: 1 } }),
    next({ errors: [expect.objectContaining(masked)] }),
    complete,
  ]);
  expect(JSON.stringify(gateway.logs().filter(({ requestId }) => requestId === 'sse-1'))).toContain('hunter2');
});

test('what cannot start is told in the stream, and a wrong key is 401', async () => {
  expect(JSON.stringify(await events(await open(gateway, 'subscription { refused }')))).toContain('UNAUTHENTICATED');
  expect(JSON.stringify(await events(await open(gateway, 'subscription { nope }')))).toContain('BAD_USER_INPUT');
  const wrong = await open(gateway, 'subscription { forever }', { headers: { authorization: 'Bearer bad' } });
  expect(wrong.status).toBe(401);
  await wrong.body?.cancel();
});

test('a subscription streams to nobody who does not ask for events: such a stream would not be looked after', async () => {
  const { opened } = gateway.counters;
  for (const accept of ['*/*', 'text/*', 'application/graphql-response+json, */*']) {
    const response = await open(gateway, 'subscription { forever }', { headers: { accept } });
    expect(response.status).toBe(406);
    expect(await response.text()).toContain('accept: text/event-stream'); // which ends
  }
  expect(gateway.counters.opened).toBe(opened);
});

test('readers that go away leave no subscription behind', async () => {
  const { opened, returned } = gateway.counters;
  const abort = new AbortController();
  const responses = await Promise.all(
    Array.from({ length: 20 }, async () => await open(gateway, 'subscription { forever }', { signal: abort.signal })),
  );
  expect(responses.every(({ status }) => status === 200)).toBe(true);
  await until(() => gateway.counters.opened === opened + 20);
  abort.abort();
  await until(() => gateway.counters.returned === returned + 20);
});

test('a reader that never reads is not pulled for, and is cut off', async () => {
  await using small = await startTestGateway({ stalledMs: 150 });
  const socket = connect(small.port, '127.0.0.1');
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  const body = JSON.stringify({ query: 'subscription { flood(bytes: 100000) }' });
  socket.write(
    `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n` +
      `content-length: ${body.length}\r\n\r\n${body}`,
  );
  socket.pause();
  await until(() => small.counters.returned === 1, 10_000);
  expect(small.counters.pulled).toBeLessThan(500);
  socket.destroy();
});

test('a reader that was cut off while blocked leaves no subscription behind', async () => {
  await using small = await startTestGateway();
  const socket = connect(small.port, '127.0.0.1');
  await once(socket, 'connect');
  const body = JSON.stringify({ query: 'subscription { flood(bytes: 100000) }' });
  socket.write(
    `POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n` +
      `content-length: ${body.length}\r\n\r\n${body}`,
  );
  socket.pause();
  let before = -1;
  await until(() => {
    const still = small.counters.pulled > 0 && small.counters.pulled === before;
    before = small.counters.pulled;
    return still;
  });
  expect(small.counters.returned).toBe(0);
  socket.destroy();
  await until(() => small.counters.returned === 1);
});

test('a stream whose key is revoked is ended', async () => {
  await using live = await startTestGateway({ reauthenticateMs: 40 });
  const response = await open(live, 'subscription { forever }', { headers: { authorization: 'Bearer good' } });
  await until(() => live.counters.opened === 1);
  live.keys.delete('good');
  await expect(response.text()).rejects.toThrow('terminated');
  await until(() => live.counters.returned === 1);
});

test('stopping ends streams at once', async () => {
  const stopped = await startTestGateway();
  const response = await open(stopped, 'subscription { forever }');
  await until(() => stopped.counters.opened === 1);
  await stopped[Symbol.asyncDispose]();
  await expect(response.text()).rejects.toThrow('terminated');
  expect(stopped.counters.returned).toBe(1);
});
