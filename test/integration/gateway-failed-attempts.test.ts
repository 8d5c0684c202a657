import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { post, startTestGateway } from '../support/gateway-fixture.ts';
import type { GatewayFixture } from '../support/gateway-fixture.ts';

let gateway: GatewayFixture;

beforeAll(async () => {
  gateway = await startTestGateway({ failedAuthenticationsMax: 3, failedAuthenticationMs: 3_600_000 });
});
afterAll(async () => await gateway[Symbol.asyncDispose]());

const ask = async (authorization: string) => await post(gateway, { query: '{ who }' }, { authorization });

/** What the gateway says to a socket that brings the credentials: its acknowledgement, or how it closes. */
async function connect(authorization: string): Promise<string> {
  const socket = new WebSocket(gateway.websocketUrl, 'graphql-transport-ws');
  const closed = once(socket, 'close').then(([code, reason]) => `${code} ${String(reason)}`);
  await once(socket, 'open');
  const answered = once(socket, 'message').then(([message]) => String(message));
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization } }));
  const answer = await Promise.race([answered, closed]);
  socket.terminate();
  return answer;
}

test('failures of both transports count together; then it is 429 and 4429 without a look-up, but for known keys', async () => {
  expect((await ask('Bearer good')).status).toBe(200);
  expect((await ask('Bearer wrong-1')).status).toBe(401);
  expect(await connect('Bearer wrong-2')).toBe('4403 Forbidden');
  expect((await ask('Access wrong-3')).status).toBe(401);

  const lookups = gateway.lookups();
  const { status, headers, body } = await ask('Bearer wrong-4');
  expect([status, body.errors?.[0]?.extensions]).toEqual([429, { code: 'RATE_LIMITED' }]);
  const retryAfterSeconds = Number(headers.get('retry-after'));
  expect(retryAfterSeconds).toBeGreaterThan(3_500);
  expect(retryAfterSeconds).toBeLessThanOrEqual(3_600);
  const message = `Too many failed authentications from this address: try again in ${retryAfterSeconds} s.`;
  expect(body.errors?.[0]?.message).toBe(message);
  expect(await connect('Bearer wrong-5')).toBe('4429 Too many failed authentications');
  expect((await ask('Access wrong-6')).status).toBe(429);
  expect((await ask('Basic d3Jvbmc=')).status).toBe(429);
  expect(gateway.lookups()).toBe(lookups);

  expect((await ask('Bearer good')).body.data).toEqual({ who: 'project of good' });
  expect(await connect('Bearer good')).toContain('connection_ack');
  expect((await ask('Access the admin key')).body.data).toEqual({ who: 'ADMINISTRATOR' });
  expect((await post(gateway, { query: '{ who }' })).body.data).toEqual({ who: null });
});
