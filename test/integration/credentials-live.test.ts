import { once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { schema } from '../../schema/index.ts';
import { createAccessTokens } from '../../src/access-tokens.ts';
import { createAuthenticate } from '../../src/authenticate.ts';
import { type ApiKeyId, idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { type Permission, permissions } from '../../src/domain/permissions.ts';
import { type Gateway, startGateway } from '../../src/gateway/gateway.ts';
import { Secret } from '../../src/secret.ts';
import { createApiKey, revokeApiKey } from '../../src/store/api-keys.ts';
import { createKeyCache } from '../../src/store/key-cache.ts';
import { post } from '../support/gateway-fixture.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { testActor } from '../support/test-actor.ts';

// Keys and tokens as they live and die: the real schema and database behind the real edge, which looks again every 50 ms.

const adminKey = 'an admin key of the tests';
const tokens = createAccessTokens([{ id: 'k1', key: new Uint8Array(randomBytes(32)) }]);
const logged: string[] = [];
/** Every credential of this file: none may ever be in the log. */
const secrets: string[] = [adminKey];
let fixture: SchemaFixture;
let gateway: Gateway;
let goodKey: string;

beforeAll(async () => {
  fixture = await openSchemaFixture();
  gateway = await start(50);
  goodKey = (await makeKey()).key;
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await fixture[Symbol.asyncDispose]();
});

async function start(reauthenticateMs: number): Promise<Gateway> {
  const keys = createKeyCache(fixture.db);
  const shared = fixture.contextOf(fixture.projectId);
  const started = await startGateway({
    schema,
    host: '127.0.0.1',
    port: 0,
    adminKey: new Secret(adminKey),
    rate: null,
    introspection: true,
    persistedOperations: null,
    allowedOrigins: [],
    authenticate: createAuthenticate(keys, tokens),
    createContext: (caller, requestId) => ({
      ...shared,
      caller,
      requestId,
      credentials: {
        issueAccessToken: async (grant) => await tokens.issue(grant),
        forgetApiKey: (id) => keys.forget(id),
      },
    }),
    checks: { database: async () => {}, queue: async () => {}, feed: async () => {} },
    logger: pino({ level: 'trace' }, { write: (line: string) => void logged.push(line) }),
    limits: { tickMs: 20, reauthenticateMs, failedAuthenticationsMax: 1_000 },
  });
  keys.onForget((apiKeyId) => started.revoke(apiKeyId));
  return started;
}

async function makeKey(
  expiresAt: Date | null = null,
  granted: readonly Permission[] = permissions,
): Promise<{ key: string; id: ApiKeyId }> {
  const input = { name: 'Live', permissions: granted, expiresAt };
  const { apiKey, key } = await createApiKey(fixture.db, fixture.projectId, input, testActor);
  secrets.push(key);
  return { key, id: idFromUuid('apiKey', apiKey.id) };
}

async function ask(credential: string, query: string, scheme = 'Bearer', asked: Gateway = gateway) {
  return await post(asked, { query }, { authorization: `${scheme} ${credential}` });
}

async function makeToken(key: string, granted = 'VIEW_WEBHOOKS'): Promise<string> {
  const query = `mutation { createAccessToken(input: { permissions: [${granted}] }) { token userErrors { code } } }`;
  const { body } = await ask(key, query);
  const { token } = z.object({ createAccessToken: z.object({ token: z.string() }) }).parse(body.data).createAccessToken;
  secrets.push(token);
  return token;
}

const feed = 'subscription { deliveryFeed { cursor } }';

/** A live subscription; `ended` says how it was ended. */
async function openSocket(
  authorization: string,
  opened: Gateway = gateway,
): Promise<{ ended: Promise<string>; socket: WebSocket }> {
  const socket = new WebSocket(`${opened.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  const ended = once(socket, 'close').then(([code, reason]) => `${code} ${String(reason)}`);
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization } }));
  await Promise.race([once(socket, 'message'), ended]);
  socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload: { query: feed } }));
  return { ended, socket };
}

async function openStream(authorization: string, opened: Gateway = gateway): Promise<{ ended: Promise<string> }> {
  const response = await fetch(`${opened.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization },
    body: JSON.stringify({ query: feed }),
  });
  expect(response.status).toBe(200);
  const ended = response.text().then(
    (text) => `complete ${text}`,
    () => 'cut',
  );
  return { ended };
}

interface Ending {
  credential: string;
  /** Makes it happen, where time alone does not. */
  end?: () => Promise<unknown>;
}

const soon = (): Date => new Date(Date.now() + 3_000);

const endings: Record<string, () => Promise<Ending>> = {
  'a key that is revoked through this process': async () => {
    const { key, id } = await makeKey();
    const query = `mutation { revokeApiKey(input: { id: "${id}" }) { apiKey { revokedAt } userErrors { code } } }`;
    return { credential: key, end: async () => await ask(goodKey, query) };
  },
  'a key that is revoked through another process': async () => {
    const { key, id } = await makeKey();
    return { credential: key, end: async () => await revokeApiKey(fixture.db, fixture.projectId, id, testActor) };
  },
  'a key that expires': async () => ({ credential: (await makeKey(soon())).key }),
  'a token that expires': async () => {
    const { id: apiKeyId } = await makeKey();
    const expiresAt = new Date(Math.ceil(soon().getTime() / 1000) * 1000);
    const credential = await tokens.issue({ apiKeyId, permissions: ['VIEW_WEBHOOKS'], expiresAt });
    secrets.push(credential);
    return { credential };
  },
  'a token whose key is revoked': async () => {
    const { key, id } = await makeKey();
    const credential = await makeToken(key);
    return { credential, end: async () => await revokeApiKey(fixture.db, fixture.projectId, id, testActor) };
  },
  'a token whose key expires': async () => ({ credential: await makeToken((await makeKey(soon())).key) }),
};

describe.each(Object.entries(endings))('%s', (_name, begin) => {
  test('closes its sockets with 4403, ends its streams and is 401 from then on; others go on', async () => {
    const { credential, end } = await begin();
    const other = await openSocket(`Bearer ${goodKey}`);
    const socket = await openSocket(`Bearer ${credential}`);
    const stream = await openStream(`Bearer ${credential}`);
    expect((await ask(credential, '{ project { id } }')).body.data).toEqual({ project: { id: fixture.projectId } });
    await end?.();
    expect(await Promise.all([socket.ended, stream.ended])).toEqual(['4403 Forbidden', 'cut']);
    const { status, body } = await ask(credential, '{ project { id } }');
    expect([status, body.errors?.[0]?.extensions?.code]).toEqual([401, 'UNAUTHENTICATED']);
    expect(other.socket.readyState).toBe(WebSocket.OPEN);
    other.socket.terminate();
  });
});

test('a key that is deprived of a permission loses what runs with it, and does the rest after', async () => {
  const { key, id } = await makeKey();
  const socket = await openSocket(`Bearer ${key}`);
  const stream = await openStream(`Bearer ${key}`);
  const data = { permissions: ['MANAGE_WEBHOOKS'] };
  await fixture.db.prisma.apiKey.update({ where: { id: uuidOf(id) }, data });
  expect(await Promise.all([socket.ended, stream.ended])).toEqual(['4403 Forbidden', 'cut']);
  const { status, body } = await ask(key, '{ project { id } }');
  expect([status, body.errors?.[0]?.extensions?.code]).toEqual([200, 'FORBIDDEN']);
});

test('a key without VIEW_WEBHOOKS watches nothing, on either transport', async () => {
  const { key } = await makeKey(null, ['EMIT_EVENTS', 'MANAGE_WEBHOOKS']);
  const { socket } = await openSocket(`Bearer ${key}`);
  const [message] = await once(socket, 'message');
  expect(String(message)).toContain('FORBIDDEN');
  socket.terminate();
  expect(await (await openStream(`Bearer ${key}`)).ended).toContain('FORBIDDEN');
});

test('a revocation through this process holds from its answer on', async () => {
  const { key, id } = await makeKey();
  const token = await makeToken(key);
  for (const credential of [key, token]) expect((await ask(credential, '{ project { id } }')).status).toBe(200);
  await ask(goodKey, `mutation { revokeApiKey(input: { id: "${id}" }) { userErrors { code } } }`);
  for (const credential of [key, token]) expect((await ask(credential, '{ project { id } }')).status).toBe(401);
});

test('a revocation through this process ends sockets and streams at once, of the key and its tokens and of no other', async () => {
  await using patient = await start(3_600_000);
  const { key, id } = await makeKey();
  const token = await makeToken(key);
  const other = await openSocket(`Bearer ${goodKey}`, patient);
  const sockets = await Promise.all([key, token].map(async (text) => await openSocket(`Bearer ${text}`, patient)));
  const stream = await openStream(`Bearer ${key}`, patient);
  await ask(goodKey, `mutation { revokeApiKey(input: { id: "${id}" }) { userErrors { code } } }`, 'Bearer', patient);
  const ended = await Promise.all([...sockets, stream].map(async (connection) => await connection.ended));
  expect(ended).toEqual(['4403 Forbidden', '4403 Forbidden', 'cut']);
  expect(other.socket.readyState).toBe(WebSocket.OPEN);
  other.socket.terminate();
});

test('a socket whose own key it revokes is answered, and then closed', async () => {
  await using patient = await start(3_600_000);
  const { key, id } = await makeKey();
  const { socket, ended } = await openSocket(`Bearer ${key}`, patient);
  const answered = once(socket, 'message');
  const query = `mutation { revokeApiKey(input: { id: "${id}" }) { apiKey { id } userErrors { code } } }`;
  socket.send(JSON.stringify({ id: '2', type: 'subscribe', payload: { query } }));
  const [answer] = await answered;
  expect(JSON.parse(String(answer))).toMatchObject({
    id: '2',
    type: 'next',
    payload: { data: { revokeApiKey: { apiKey: { id } } } },
  });
  expect(await ended).toBe('4403 Forbidden');
});

test('the admin key administers over HTTP and WebSocket, and a wrong one nothing', async () => {
  const query = 'mutation { createProject(input: { name: "Over HTTP" }) { key userErrors { code } } }';
  const { status, body } = await ask(adminKey, query, 'Access');
  const { key } = z.object({ createProject: z.object({ key: z.string() }) }).parse(body.data).createProject;
  secrets.push(key);
  expect(status).toBe(200);
  expect((await ask(key, '{ project { name } }')).body.data).toEqual({ project: { name: 'Over HTTP' } });

  const { socket } = await openSocket(`Access ${adminKey}`);
  await once(socket, 'message'); // the refused subscription: the administrator has no project
  socket.send(
    JSON.stringify({
      id: '2',
      type: 'subscribe',
      payload: { query: 'mutation { cleanupDeliveries(input: {}) { finished } }' },
    }),
  );
  const [answer] = await once(socket, 'message');
  expect(String(answer)).toContain('"finished":true');
  socket.terminate();

  const wrong = await ask(`${adminKey}!`, query, 'Access');
  expect([wrong.status, wrong.body.errors?.[0]?.message]).toEqual([401, 'This admin key is not valid.']);
  expect((await ask(adminKey, query)).status).toBe(401);
  expect((await ask(goodKey, query, 'Access')).status).toBe(401);
  expect(await (await openSocket(`Access ${adminKey}!`)).ended).toBe('4403 Forbidden');
});

test('no key and no token is in the log, at its most talkative, right or wrong', async () => {
  const wrong = [`phk_${randomBytes(32).toString('base64url')}`, 'a.wrong.token-that-nobody-issued', 'nonsense-key'];
  for (const credential of wrong) {
    await ask(credential, '{ project { id } }');
    await (
      await openSocket(`Bearer ${credential}`)
    ).ended;
  }
  expect(logged.length).toBeGreaterThan(20);
  const log = logged.join('');
  for (const secret of [...secrets, ...wrong, 'authorization']) expect(log).not.toContain(secret);
  expect(log).not.toMatch(/phk_|eyJ/);
});
