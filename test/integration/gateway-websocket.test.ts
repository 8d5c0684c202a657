import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { startTestGateway, until } from '../support/gateway-fixture.ts';
import type { FormattedExecutionResult } from 'graphql';
import type { Client } from 'graphql-ws';
import type { Failure, GatewayFixture } from '../support/gateway-fixture.ts';

let gateway: GatewayFixture;

beforeAll(async () => {
  gateway = await startTestGateway();
});
afterAll(async () => await gateway[Symbol.asyncDispose]());

/** Runs an operation to its end: what it answered, and what ended it when that was not completion. */
async function run(client: Client, query: string): Promise<{ items: FormattedExecutionResult[]; ended: unknown }> {
  const items: FormattedExecutionResult[] = [];
  const ended = await new Promise<unknown>((resolve) => {
    client.subscribe(
      { query },
      {
        next: ({ data, errors }) => items.push({ ...(data ? { data } : {}), ...(errors ? { errors } : {}) }),
        error: resolve,
        complete: () => resolve('complete'),
      },
    );
  });
  return { items, ended };
}

async function open(url: string, protocol = 'graphql-transport-ws'): Promise<WebSocket> {
  const socket = new WebSocket(url, protocol);
  await once(socket, 'open');
  return socket;
}

/** A socket that has been acknowledged, speaking the protocol by hand. */
async function openAcknowledged(fixture: GatewayFixture, payload: object = {}): Promise<WebSocket> {
  const socket = await open(fixture.websocketUrl);
  socket.send(JSON.stringify({ type: 'connection_init', payload }));
  await once(socket, 'message');
  return socket;
}

const subscribeMessage = (id: string, query: string): string =>
  JSON.stringify({ id, type: 'subscribe', payload: { query } });

const closed = async (socket: WebSocket): Promise<[number, string]> => {
  const [code, reason] = await once(socket, 'close');
  return [code, String(reason)];
};

test('queries, mutations and subscriptions answer over one socket', async () => {
  const client = gateway.client({ authorization: 'Bearer good' });
  expect(await run(client, '{ hello who }')).toEqual({
    items: [{ data: { hello: 'hello world', who: 'project of good' } }],
    ended: 'complete',
  });
  expect((await run(client, 'mutation { rename(name: "x") }')).items).toEqual([{ data: { rename: 'x' } }]);
  const counted = await run(client, 'subscription Count { count(to: 3) }');
  expect(counted).toEqual({ items: [1, 2, 3].map((count) => ({ data: { count } })), ended: 'complete' });
  await client.dispose();
  const line = gateway.logs().find(({ operationName }) => operationName === 'Count');
  expect(line).toMatchObject({ transport: 'websocket', operationType: 'subscription', projectId: 'project of good' });
});

test('another subprotocol is not accepted', async () => {
  const socket = new WebSocket(gateway.websocketUrl, 'graphql-ws');
  const [error] = await once(socket, 'error');
  expect(String(error)).toContain('no subprotocol');
  const none = new WebSocket(gateway.websocketUrl);
  expect((await closed(none))[0]).toBe(4406);
});

test('an upgrade elsewhere than at /graphql is 404', async () => {
  const socket = new WebSocket(`${gateway.websocketUrl}/other`, 'graphql-transport-ws');
  const [error] = await once(socket, 'error');
  expect(String(error)).toContain('404');
});

test('a wrong key closes with 4403, and a failing lookup with 4500 and no detail', async () => {
  for (const [authorization, expected] of [
    ['Bearer bad', [4403, 'Forbidden']],
    ['Basic Z29vZA==', [4403, 'Forbidden']],
    ['Bearer down', [4500, 'Internal server error']],
  ] as const) {
    const socket = await open(gateway.websocketUrl);
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization } }));
    expect(await closed(socket)).toEqual(expected);
  }
});

test('without a key the caller is nobody, and Authorization in capitals is read', async () => {
  const nobody = gateway.client();
  expect((await run(nobody, '{ who }')).items).toEqual([{ data: { who: null } }]);
  await nobody.dispose();
  const somebody = gateway.client({ Authorization: 'Bearer other' });
  expect((await run(somebody, '{ who }')).items).toEqual([{ data: { who: 'project of other' } }]);
  await somebody.dispose();
});

test('the limits of a document hold on this transport, and the codes are those of HTTP', async () => {
  const client = gateway.client();
  const deep = `{ ${'deep { '.repeat(12)} hello ${'}'.repeat(12)} }`;
  for (const [query, code] of [
    [deep, 'QUERY_TOO_COMPLEX'],
    [`{ ${'hello '.repeat(5_000)} }`, 'QUERY_TOO_COMPLEX'],
    ['{ nope', 'BAD_USER_INPUT'],
    ['{ nope }', 'BAD_USER_INPUT'],
    ['query A { hello } query B { hello }', 'BAD_USER_INPUT'],
  ] as const) {
    const { items, ended } = await run(client, query);
    expect(items).toEqual([]);
    const failures = ended as Failure[];
    expect(failures.map(({ extensions }) => extensions)).toEqual([{ code }]);
  }
  await client.dispose();
});

test('a crash is masked in a query, in an item and in the middle of a subscription; an error with a code is not', async () => {
  const client = gateway.client();
  const masked = { message: 'Unexpected error', extensions: { code: 'INTERNAL', requestId: expect.any(String) } };
  const crash = await run(client, '{ crash }');
  expect(crash.items[0]?.errors?.[0]).toMatchObject(masked);
  const item = await run(client, 'subscription { crashesInItem }');
  expect(item.items[0]?.errors?.[0]).toMatchObject(masked);
  const breaks = await run(client, 'subscription { breaks }');
  expect(breaks.items).toEqual([{ data: { breaks: 1 } }]);
  expect(breaks.ended).toEqual([expect.objectContaining(masked)]);
  const expires = await run(client, 'subscription { expires }');
  expect(expires.items).toEqual([{ data: { expires: 1 } }, { data: { expires: 2 } }]);
  const expired = { message: 'the cursor is too old', extensions: { code: 'CURSOR_EXPIRED' } };
  expect(expires.ended).toEqual([expect.objectContaining(expired)]);
  const refused = await run(client, 'subscription { refused }');
  expect(JSON.stringify([refused.items, refused.ended])).toContain('"UNAUTHENTICATED"');
  expect(JSON.stringify([crash, item, breaks])).not.toContain('hunter2');
  const ids = [crash.items[0], item.items[0]].map((result) => result?.errors?.[0]?.extensions?.['requestId']);
  for (const requestId of ids) {
    const logged = gateway.logs().filter((line) => line['requestId'] === requestId && line['level'] === 50);
    expect(JSON.stringify(logged)).toContain('hunter2');
  }
  await client.dispose();
});

test('a message over 1 MiB closes with 1009, and silence after connecting with 4408', async () => {
  const socket = await openAcknowledged(gateway);
  socket.send(subscribeMessage('1', `{ hello } # ${'x'.repeat(1024 * 1024)}`));
  expect((await closed(socket))[0]).toBe(1009);
  await using impatient = await startTestGateway({ connectionInitMs: 30 });
  expect((await closed(await open(impatient.websocketUrl)))[0]).toBe(4408);
});

test('more operations at once than allowed are refused one by one, and the others go on', async () => {
  await using small = await startTestGateway({ operationsPerSocketMax: 3 });
  const client = small.client();
  const stops = Array.from({ length: 3 }, () =>
    client.subscribe({ query: 'subscription { forever }' }, { next() {}, error() {}, complete() {} }),
  );
  await until(() => small.counters.pulled === 3);
  const fourth = await run(client, 'subscription { forever }');
  expect((fourth.ended as Failure[])[0]?.extensions).toEqual({ code: 'RATE_LIMITED' });
  stops[0]?.();
  await until(() => small.counters.returned === 1);
  expect((await run(client, '{ hello }')).items).toEqual([{ data: { hello: 'hello world' } }]);
  await client.dispose();
});

test('an operation whose id is longer than any client makes them is refused, and the others go on', async () => {
  const socket = await openAcknowledged(gateway);
  const { opened } = gateway.counters;
  const messages: string[] = [];
  socket.on('message', (data: Buffer) => messages.push(data.toString()));
  socket.send(subscribeMessage('x'.repeat(129), 'subscription { forever }'));
  socket.send(subscribeMessage('x'.repeat(128), '{ hello }'));
  await until(() => messages.length === 3);
  expect(messages[0]).toContain('"BAD_USER_INPUT"');
  expect(messages[1]).toContain('hello world');
  expect(gateway.counters.opened).toBe(opened);
  socket.terminate();
});

test('sockets that end without a word leave no subscription behind', async () => {
  const { opened, returned } = gateway.counters;
  const sockets = await Promise.all(Array.from({ length: 20 }, async () => await openAcknowledged(gateway)));
  for (const socket of sockets) {
    for (const id of ['1', '2', '3']) socket.send(subscribeMessage(id, 'subscription { forever }'));
  }
  await until(() => gateway.counters.opened === opened + 60);
  expect(gateway.counters.returned).toBe(returned);
  for (const socket of sockets) socket.terminate();
  await until(() => gateway.counters.returned === returned + 60);
});

test('a reader that never reads is not pulled for, and is cut off while others go on', async () => {
  await using small = await startTestGateway({ stalledMs: 150 });
  const socket = await openAcknowledged(small);
  socket.pause();
  socket.send(subscribeMessage('1', 'subscription { flood(bytes: 100000) }'));
  const other = small.client();
  await until(() => small.counters.pulled > 1);
  expect((await run(other, '{ hello }')).items).toEqual([{ data: { hello: 'hello world' } }]);
  await other.dispose();
  await until(() => small.counters.returned === 1, 10_000);
  // What the kernel takes at both ends is some megabytes; without a bound it would have pulled for as long as it ran.
  expect(small.counters.pulled).toBeLessThan(500);
  socket.terminate();
});

test('a reader that was cut off for reading nothing and wakes up again sees 1013', async () => {
  await using small = await startTestGateway({ stalledMs: 150 });
  const socket = await openAcknowledged(small);
  const end = closed(socket);
  socket.pause();
  socket.send(subscribeMessage('1', 'subscription { flood(bytes: 100000) }'));
  await until(() => small.logs().some(({ msg }) => msg === 'a reader that takes nothing is cut off'), 10_000);
  socket.resume();
  expect(await end).toEqual([1013, 'Try again later']);
  await until(() => small.counters.returned === 1);
});

test('a reader that pauses for less than the limit goes on where it was', async () => {
  const socket = await openAcknowledged(gateway);
  const { pulled } = gateway.counters;
  let received = 0;
  socket.on('message', () => (received += 1));
  socket.pause();
  socket.send(subscribeMessage('1', 'subscription { flood(bytes: 100000) }'));
  await until(() => gateway.counters.pulled > pulled + 1);
  socket.resume();
  await until(() => received > 100);
  expect(socket.readyState).toBe(WebSocket.OPEN);
  socket.terminate();
});

test('a reader that asks for more while it reads nothing is closed with 1013', async () => {
  await using small = await startTestGateway({ bufferedBytesMax: 100_000 });
  const socket = await openAcknowledged(small);
  const end = closed(socket);
  socket.pause();
  for (let id = 0; id < 90; id += 1) socket.send(subscribeMessage(`${id}`, '{ large(bytes: 1000000) }'));
  let id = 90;
  await until(() => {
    socket.send(subscribeMessage(`${(id += 1)}`, '{ hello }'));
    return small.logs().some(({ msg }) => msg === 'a reader that takes nothing asks for more');
  });
  socket.resume();
  expect(await end).toEqual([1013, 'Try again later']);
});

test('a socket whose key is revoked is closed with 4403, others of the same gateway stay', async () => {
  await using live = await startTestGateway({ reauthenticateMs: 40 });
  const revoked = await openAcknowledged(live, { authorization: 'Bearer good' });
  const kept = await openAcknowledged(live, { authorization: 'Bearer other' });
  const nobody = await openAcknowledged(live);
  revoked.send(subscribeMessage('1', 'subscription { forever }'));
  await until(() => live.counters.opened === 1);
  const end = closed(revoked);
  live.keys.delete('good');
  expect(await end).toEqual([4403, 'Forbidden']);
  await until(() => live.counters.returned === 1);
  expect([kept.readyState, nobody.readyState]).toEqual([WebSocket.OPEN, WebSocket.OPEN]);
});

test('many sockets of one key cost one lookup per round', async () => {
  await using live = await startTestGateway({ reauthenticateMs: 100 });
  const sockets = await Promise.all(
    Array.from({ length: 30 }, async () => await openAcknowledged(live, { authorization: 'Bearer good' })),
  );
  const before = live.lookups();
  await until(() => live.lookups() >= before + 2);
  expect(live.lookups() - before).toBeLessThan(10);
  for (const socket of sockets) expect(socket.readyState).toBe(WebSocket.OPEN);
});

test('a peer that does not answer pings is cut off, one that does stays', async () => {
  await using live = await startTestGateway({ pingMs: 60 });
  const silent = await openAcknowledged(live);
  const alive = await openAcknowledged(live);
  let pings = 0;
  alive.on('ping', () => (pings += 1));
  silent.pong = () => undefined;
  expect((await closed(silent))[0]).toBe(1006);
  await until(() => pings >= 3);
  expect(alive.readyState).toBe(WebSocket.OPEN);
});

test('stopping answers queries under way, closes subscriptions with 1001 without completing them', async () => {
  const stopped = await startTestGateway();
  const asking = await openAcknowledged(stopped);
  const watching = await openAcknowledged(stopped);
  const messages: string[] = [];
  for (const socket of [asking, watching]) socket.on('message', (data: Buffer) => messages.push(data.toString()));
  const ends = [closed(asking), closed(watching)];
  watching.send(subscribeMessage('1', 'subscription { forever }'));
  asking.send(subscribeMessage('2', '{ held }'));
  asking.send(subscribeMessage('3', '{ hello }'));
  await until(() => messages.length >= 3);
  const stopping = stopped[Symbol.asyncDispose]();
  expect(await ends[1]).toEqual([1001, 'Going away']);
  stopped.release();
  expect(await ends[0]).toEqual([1001, 'Going away']);
  await stopping;
  expect(messages.some((message) => message.includes('released'))).toBe(true);
  expect(messages).not.toContain('{"id":"1","type":"complete"}');
  expect(stopped.counters.returned).toBe(1);
});
