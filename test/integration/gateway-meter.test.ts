import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Secret } from '../../src/secret.ts';
import { post, startTestGateway, until } from '../support/gateway-fixture.ts';
import type { EndedOperation, GatewayMeter } from '../../src/gateway/gateway-meter.ts';

/** A meter that keeps what it is told. */
function createMeter() {
  const operations: (Omit<EndedOperation, 'errorCodes' | 'durationMs'> & { codes: string[] })[] = [];
  const open: string[] = [];
  let slowCount = 0;
  const meter: GatewayMeter = {
    operationEnded: ({ operationType, transport, errorCodes, durationMs }) => {
      if (durationMs >= 0) operations.push({ operationType, transport, codes: [...errorCodes] });
    },
    connectionOpened: (transport) => {
      open.push(transport);
      return () => void open.splice(open.indexOf(transport), 1);
    },
    slowReaderClosed: () => (slowCount += 1),
  };
  return { meter, operations, open, slowCount: () => slowCount };
}

describe('what the gateway tells its meter', () => {
  test('is every operation that asked for something, on each transport, with its errors', async () => {
    const { meter, operations } = createMeter();
    await using gateway = await startTestGateway({}, { meter });
    await post(gateway, { query: '{ hello }' });
    await post(gateway, { query: 'mutation { rename(name: "x") }' });
    await post(gateway, { query: '{ notFound }' });
    await post(gateway, { query: '{ hello }' }, { authorization: 'Bearer bad' });
    await fetch(`${gateway.url}/health`);
    const client = gateway.client();
    const asked = client.iterate({ query: '{ crash }' });
    await asked.next();
    await client.dispose();
    await until(() => operations.length === 5);
    expect(operations).toEqual([
      { operationType: 'query', transport: 'http', codes: [] },
      { operationType: 'mutation', transport: 'http', codes: [] },
      { operationType: 'query', transport: 'http', codes: ['NOT_FOUND'] },
      { operationType: null, transport: 'http', codes: ['UNAUTHENTICATED'] },
      { operationType: 'query', transport: 'websocket', codes: ['INTERNAL'] },
    ]);
  });

  test('is each WebSocket and event stream, for as long as it is open', async () => {
    const { meter, open } = createMeter();
    await using gateway = await startTestGateway({}, { meter });
    const socket = new WebSocket(gateway.websocketUrl, 'graphql-transport-ws');
    await once(socket, 'open');
    const stop = new AbortController();
    const stream = await fetch(`${gateway.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({ query: 'subscription { forever }' }),
      signal: stop.signal,
    });
    expect(stream.status).toBe(200);
    expect(open.toSorted()).toEqual(['sse', 'websocket']);
    stop.abort();
    await until(() => open.length === 1);
    socket.terminate();
    await until(() => open.length === 0);
  });

  test('is each reader that was closed for taking nothing', async () => {
    const { meter, slowCount } = createMeter();
    await using gateway = await startTestGateway({ stalledMs: 150 }, { meter });
    const socket = new WebSocket(gateway.websocketUrl, 'graphql-transport-ws');
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init' }));
    await once(socket, 'message');
    socket.pause();
    const query = 'subscription { flood(bytes: 100000) }';
    socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query } }));
    await until(() => slowCount() > 0, 10_000);
    socket.resume();
    const [code] = await once(socket, 'close');
    expect([code, slowCount()]).toEqual([1013, 1]);
  });
});

describe('the metrics at the gateway', () => {
  const page = { contentType: 'text/plain; version=0.0.4; charset=utf-8', read: async () => 'a 1\n' };

  test('are there for anybody, or for who has the token where one is set', async () => {
    await using open = await startTestGateway({}, { metrics: { page, token: null } });
    const answer = await fetch(`${open.url}/metrics`);
    expect([answer.status, answer.headers.get('content-type'), await answer.text()]).toEqual([
      200,
      page.contentType,
      'a 1\n',
    ]);
    await using closed = await startTestGateway({}, { metrics: { page, token: new Secret('the-token') } });
    expect((await fetch(`${closed.url}/metrics`)).status).toBe(401);
    const headers = { authorization: 'Bearer the-token' };
    expect((await fetch(`${closed.url}/metrics`, { headers })).status).toBe(200);
  });

  test('a key of the API does not open them', async () => {
    await using gateway = await startTestGateway({}, { metrics: { page, token: new Secret('the-token') } });
    for (const authorization of ['Bearer good', 'Access the admin key']) {
      expect((await fetch(`${gateway.url}/metrics`, { headers: { authorization } })).status).toBe(401);
    }
  });
});
