import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { getIntrospectionQuery } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { type Bystander, startBystander } from '../support/bystander.ts';
import { startPosthorn } from '../support/posthorn.ts';
import type { Socket } from 'node:net';
import type { ApiClient } from '../support/e2e-client.ts';
import type { Posthorn } from '../support/posthorn.ts';

// What a hostile client may try, against a real process. Each attempt ends in the error or close code that stands here.
// Meanwhile another client, in a process of its own, asks the same small question over and over: how much slower it got,
// and how much memory the gateway took, is printed.

let posthorn: Posthorn;
let client: ApiClient;
let bystander: Bystander;
let startedMiB: number;
/** Requests that are never finished, begun before everything else. */
let unfinished: Socket[];
const report: string[] = [];

/** What attacks shares the cores with what is attacked; a gateway that blocks is slower by hundreds. */
const slownessMax = 40;
const grownMiBMax = 300;
const patienceMs = 50_000;

beforeAll(async () => {
  // With this much heap what is only not collected yet goes in time; what is kept would end the process.
  posthorn = await startPosthorn({ env: { NODE_OPTIONS: '--max-old-space-size=256' } });
  client = createApiClient(posthorn, posthorn.apiKey);
  const { data } = await client.ask<{ createApiKey: { key: string } }>(
    'mutation { createApiKey(input: { name: "Bystander", permissions: [VIEW_WEBHOOKS] }) { key } }',
  );
  bystander = startBystander({ ...posthorn, apiKey: data?.createApiKey.key ?? '' });
  await bystander.next(300); // the first are slower
  startedMiB = await memoryMiB();
  const head = 'POST /graphql HTTP/1.1\r\nhost: x\r\n';
  const body = `${head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{"query":`;
  unfinished = [...Array<string>(30).fill(head), ...Array<string>(30).fill(body)].map(sendRaw);
});
afterAll(async () => {
  process.stdout.write(`${report.join('\n')}\n`);
  bystander[Symbol.dispose]();
  await client[Symbol.asyncDispose]();
  await posthorn[Symbol.asyncDispose]();
});

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)] ?? 0;
}

/** Resident memory of the gateway's process, which runs the worker as well. */
async function memoryMiB(): Promise<number> {
  const status = await readFile(`/proc/${posthorn.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1024;
}

async function openFiles(): Promise<number> {
  return (await readdir(`/proc/${posthorn.pid}/fd`)).length;
}

/** Abuses the gateway while the bystander goes on asking. */
async function abuse<Result>(what: string, attack: () => Promise<Result>): Promise<Result> {
  const usualMs = median(await bystander.next(100));
  const result = await attack();
  const timesMs = await bystander.report();
  const slowness = median(timesMs) / usualMs;
  const slowest = Math.max(...timesMs);
  const memory = await memoryMiB();
  report.push(
    `${what}: others ${slowness.toFixed(1)} × as slow (${usualMs.toFixed(1)} ms before, ${slowest.toFixed(0)} at most), ` +
      `${memory.toFixed(0)} MiB (${startedMiB.toFixed(0)} before)`,
  );
  expect(slowness).toBeLessThan(slownessMax);
  expect(memory - startedMiB).toBeLessThan(grownMiBMax);
  return result;
}

interface Refusal {
  status: number;
  code: unknown;
}

async function send(body: string | Buffer, headers: Record<string, string> = {}): Promise<Refusal> {
  const request = httpRequest(posthorn.graphqlUrl, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      authorization: `Bearer ${posthorn.apiKey}`,
      'content-length': Buffer.byteLength(body),
      ...headers,
    },
  });
  request.on('error', () => undefined); // what is refused by its length is not read to its end
  request.end(body);
  const [response] = await once(request, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  const answer = JSON.parse(Buffer.concat(chunks).toString());
  return { status: response.statusCode, code: answer.errors?.[0]?.extensions?.code ?? null };
}

/** Sends the query by HTTP and over a socket, and gives the code that both answer. */
async function codeOf(query: string, variables: object = {}): Promise<unknown> {
  const { code } = await send(JSON.stringify({ query, variables }));
  const { errors } = await client.askOverWebsocket(query, variables);
  expect(errors[0]?.code ?? null).toBe(code);
  return code;
}

function sendRaw(text: string): Socket {
  const socket = connect(Number(new URL(posthorn.graphqlUrl).port), '127.0.0.1');
  socket.on('error', () => undefined);
  socket.write(text);
  return socket;
}

/** An acknowledged socket. */
async function openSocket(): Promise<WebSocket> {
  const socket = new WebSocket(posthorn.websocketUrl, 'graphql-transport-ws');
  socket.on('error', () => undefined);
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${posthorn.apiKey}` } }));
  await once(socket, 'message');
  return socket;
}

const subscribe = (id: string, query: string): string => JSON.stringify({ id, type: 'subscribe', payload: { query } });

async function closeCodeAfter(message: string | Buffer): Promise<number> {
  const socket = await openSocket();
  socket.send(message, { binary: false });
  const [code] = await once(socket, 'close');
  return Number(code);
}

const many = (count: number, write: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => write(index)).join(' ');

test('documents that are too much are QUERY_TOO_COMPLEX on either transport', async () => {
  const doubling = many(150, (index) => {
    const inner = index === 149 ? 'id' : `...F${index + 1} ...F${index + 1}`;
    return `fragment F${index} on Project { ${inner} }`;
  });
  const inner = (depth: number): string =>
    depth === 0 ? 'id' : `nodes { webhook { deliveries(first: 1) { ${inner(depth - 1)} } } }`;
  const documents = {
    'depth 50': `{ deliveries(first: 1) { ${inner(16).replace(' id ', ' nodes { id } ')} } }`,
    '1,000 aliases': `{ ${many(1_000, (index) => `a${index}: project { id }`)} }`,
    '100,000 tokens': `{ project { ${'id '.repeat(100_000)} } }`,
    '4,900 times the same field': `{ project { ${'id '.repeat(4_900)} } }`,
    'the same in a fragment that nobody spreads': `{ project { id } } fragment F on Project { ${'id '.repeat(4_900)} }`,
    'a fragment bomb': `{ project { ...F0 } } ${doubling}`,
    'directives without end': `{ project { id ${'@include(if: true) '.repeat(600)} } }`,
    '21 root fields': `{ ${'project { id } '.repeat(21)} }`,
    'pages in pages': '{ webhooks(first: 100) { nodes { deliveries(first: 100) { nodes { id } } } } }',
    'counting for each of a page': '{ webhooks(first: 100) { nodes { deliveries { totalCount } } } }',
    'the schema twice at once': `{ ${many(2, (index) => `a${index}: __schema { types { name } }`)} }`,
  };
  await abuse('documents', async () => {
    for (const [what, query] of Object.entries(documents)) {
      for (let round = 0; round < 5; round += 1)
        expect([what, await codeOf(query)]).toEqual([what, 'QUERY_TOO_COMPLEX']);
    }
  });
});

test('a page that is too large, and introspection as one message, are BAD_USER_INPUT and 4400', async () => {
  expect(await codeOf('{ webhooks(first: 101) { nodes { id } } }')).toBe('BAD_USER_INPUT');
  expect(await codeOf('query ($first: Int) { webhooks(first: $first) { nodes { id } } }', { first: 101 })).toBe(
    'BAD_USER_INPUT',
  );
  const batch = ['1', '2', '3'].map((id) => JSON.parse(subscribe(id, getIntrospectionQuery())));
  expect(await closeCodeAfter(JSON.stringify(batch))).toBe(4400);
  const body = JSON.stringify([{ query: '{ project { id } }' }, { query: '{ project { id } }' }]);
  expect(await send(body)).toEqual({ status: 400, code: 'BAD_USER_INPUT' });
});

test('bodies and frames that are too large are 413 and 1009 before they are read', async () => {
  await abuse('10 MB bodies and 2 MB frames', async () => {
    const large = JSON.stringify({ query: '{ project { id } }', variables: { x: 'x'.repeat(10_000_000) } });
    for (let round = 0; round < 10; round += 1) {
      expect(await send(large)).toEqual({ status: 413, code: 'BAD_USER_INPUT' });
      expect(await closeCodeAfter(subscribe('1', `{ project { id } } # ${'x'.repeat(2_000_000)}`))).toBe(1009);
    }
  });
});

test('documents of the largest size, each another, are not kept', async () => {
  await abuse('60 documents of 1 MB', async () => {
    for (let round = 0; round < 60; round += 1) {
      const query = `{ project { id } } # ${round} ${'x'.repeat(1_000_000)}`;
      expect(await send(JSON.stringify({ query }))).toEqual({ status: 200, code: null });
    }
  });
});

test('a query string that is too long is 431', async () => {
  const response = await fetch(`${posthorn.graphqlUrl}?query={project{id}}&x=${'x'.repeat(20_000)}`);
  expect(response.status).toBe(431);
});

test('what is not UTF-8 is BAD_USER_INPUT and 1007', async () => {
  const broken = Buffer.concat([
    Buffer.from('{"query":"{ project { id } } # '),
    Buffer.from([0xc3, 0x28, 0xff]),
    Buffer.from('"}'),
  ]);
  expect(await send(broken)).toEqual({ status: 400, code: 'BAD_USER_INPUT' });
  expect(await closeCodeAfter(broken)).toBe(1007);
});

test('JSON that names prototypes changes nothing', async () => {
  const polluted = '{"__proto__":{"first":101},"constructor":{"prototype":{"first":101}}}';
  const query = 'query ($first: Int = 1) { webhooks(first: $first) { nodes { id } } }';
  for (const body of [
    `{"query":"{ project { id } }","__proto__":{"variables":{"first":101}}}`,
    `{"query":"{ project { id } }","constructor":{"prototype":{"polluted":true}}}`,
  ]) {
    expect(await send(body)).toEqual({ status: 400, code: 'BAD_USER_INPUT' });
  }
  expect(await send(`{"query":${JSON.stringify(query)},"variables":${polluted}}`)).toEqual({ status: 200, code: null });
  const socket = await openSocket();
  socket.send(
    `{"id":"__proto__","type":"subscribe","payload":{"query":${JSON.stringify(query)},"variables":${polluted}}}`,
  );
  const [answer] = await once(socket, 'message');
  expect(JSON.parse(String(answer))).toMatchObject({ id: '__proto__', type: 'next', payload: { data: {} } });
  socket.terminate();
});

test('variables that are huge or nested without end are answered as any others', async () => {
  await abuse('huge variables', async () => {
    const emit = 'mutation ($data: JSON) { emitEvent(input: { type: "abuse", data: $data }) { event { id } } }';
    const nested = `${'['.repeat(400_000)}${']'.repeat(400_000)}`;
    const wide = JSON.stringify(Array.from({ length: 300_000 }, () => 1));
    for (let round = 0; round < 2; round += 1) {
      const unused = JSON.stringify({ query: '{ project { id } }', variables: { x: 'x'.repeat(1_000_000) } });
      expect(await send(unused)).toEqual({ status: 200, code: null });
      const deep = `{"query":${JSON.stringify(emit)},"variables":{"data":${nested}}}`;
      expect(await send(deep)).toMatchObject({ code: 'BAD_USER_INPUT' });
      const ids = `{"query":"query ($ids: [ID!]!) { nodes(ids: $ids) { id } }","variables":{"ids":${wide}}}`;
      expect(await send(ids)).toEqual({ status: 200, code: 'QUERY_TOO_COMPLEX' });
    }
  });
});

test('of 1,000 subscriptions on a socket 100 are open, and the others are RATE_LIMITED', async () => {
  await abuse('1,000 subscriptions on a socket', async () => {
    const socket = await openSocket();
    const refusals: unknown[] = [];
    socket.on('message', (message: Buffer) => {
      const { type, payload } = JSON.parse(message.toString());
      if (type === 'error') refusals.push(payload[0].extensions.code);
    });
    for (let id = 0; id < 1_000; id += 1)
      socket.send(subscribe(String(id), 'subscription { deliveryFeed { cursor } }'));
    await untilFound('900 refusals', async () => (refusals.length >= 900 ? true : null));
    expect(new Set(refusals)).toEqual(new Set(['RATE_LIMITED']));
    socket.close();
    await once(socket, 'close');
    expect(refusals).toHaveLength(900);
  });
});

async function flood(): Promise<unknown> {
  const socket = await openSocket();
  for (let round = 0; round < 1_000; round += 1) socket.send('{"type":"connection_init"}');
  return (await once(socket, 'close'))[0];
}

test('connection_init without end closes each socket with 4429', async () => {
  await abuse('100 floods of connection_init', async () => {
    const codes = await Promise.all(Array.from({ length: 100 }, flood));
    expect(new Set(codes)).toEqual(new Set([4429]));
  });
});

test(
  '200 sockets that ask and never read, and requests that are never finished, are cut off',
  async () => {
    await abuse('200 sockets that never read', async () => {
      const before = await openFiles();
      const sockets = await Promise.all(Array.from({ length: 200 }, openSocket));
      // Before anything is sent: on a busy machine some are closed before all have been looked at.
      const closed = sockets.map(async (socket) => await new Promise<number>((done) => socket.once('close', done)));
      for (const socket of sockets) {
        socket.pause();
        for (let id = 0; id < 50; id += 1) socket.send(subscribe(String(id), getIntrospectionQuery()));
      }
      await untilFound('200 more connections', async () => ((await openFiles()) > before + 100 ? true : null));
      await untilFound('them to be cut', async () => ((await openFiles()) < before + 20 ? true : null), patienceMs);
      // Whoever reads again finds what was on its way, and then the code or, when it did not fit any more, just the end.
      for (const socket of sockets) socket.resume();
      for (const code of await Promise.all(closed)) expect([1013, 1006]).toContain(code);
    });
    const cut = unfinished.map(async (socket) => {
      socket.setEncoding('latin1');
      let answer = '';
      for await (const text of socket) answer += String(text);
      return answer.split('\r\n', 1)[0];
    });
    expect(new Set(await Promise.all(cut))).toEqual(new Set(['HTTP/1.1 408 Request Timeout']));
  },
  2 * patienceMs,
);
