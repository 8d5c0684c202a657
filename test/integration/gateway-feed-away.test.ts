import { createClient } from 'graphql-ws';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { WebSocket } from 'ws';
import type { Feed } from '../../src/feed/feed.ts';
import { webhookEntry } from '../../src/feed/feed-entries.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import type { WebhookId } from '../../src/domain/ids.ts';
import { startFeedGateway, watchSocket, watchStream } from '../support/feed-gateway.ts';
import type { Holders } from '../support/feed-gateway.ts';
import { until } from '../support/gateway-fixture.ts';
import type { GatewayFixture } from '../support/gateway-fixture.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addWebhook } from '../support/store-fixture.ts';

// What clients of a gateway see while the feed's Redis does not answer.

const query = 'subscription ($after: String) { deliveryFeed(after: $after) { cursor change } }';

let fixture: SchemaFixture;
let webhookId: WebhookId;
let redis: TestRedis;
let feed: Feed;
let gateway: GatewayFixture;
const holders: Holders = new Map();

beforeAll(async () => {
  fixture = await openSchemaFixture();
  webhookId = await addWebhook(fixture);
  holders.set('ours', { projectId: fixture.projectId, permissions: ['VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS'] });
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());
beforeEach(async () => {
  redis = await startTestRedis();
  feed = await startRedisFeed({
    url: redis.url,
    beatMs: 50,
    awayMsMax: 200,
    commandTimeoutMs: 300,
    onError: () => undefined,
  });
  gateway = await startFeedGateway(fixture, holders, { feed });
});
afterEach(async () => {
  redis.thaw();
  await gateway[Symbol.asyncDispose]();
  await feed[Symbol.asyncDispose]();
  await redis[Symbol.asyncDispose]();
});

async function publish(): Promise<void> {
  await feed.publish(fixture.projectId, [webhookEntry(webhookId, new Date())]);
}

async function ask(accept: string, document: string, variables: object = {}): Promise<Response> {
  return await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: 'Bearer ours', accept },
    body: JSON.stringify({ query: document, variables }),
  });
}

/** Has the feed go away, and resolves when its readers have been told so. */
async function freeze(): Promise<void> {
  const reader = await feed.subscribe(fixture.projectId);
  redis.freeze();
  await expect(reader.next()).rejects.toMatchObject({ code: 'UNAVAILABLE' });
}

test('sockets are closed with 1013 and streams are cut without an end, and both resume without loss', async () => {
  const watcher = await watchSocket(gateway, query);
  const stream = await watchStream(gateway, query);
  await vi.waitFor(async () => {
    await publish();
    expect(watcher.results.length).toBeGreaterThan(0);
  });
  redis.freeze();
  expect(await watcher.closed).toEqual([1013, 'The feed is away']);
  await stream.ended;
  expect(stream.blocks.some(({ event }) => event === 'complete')).toBe(false);
  expect(watcher.results.every(({ errors }) => errors === undefined)).toBe(true);
  const cursor = watcher.results.at(-1)?.data?.deliveryFeed.cursor;
  const lastEventId = stream.lastEventId();
  redis.thaw();
  await vi.waitFor(publish, { timeout: 5_000 });
  const [again, streamAgain] = [
    await watchSocket(gateway, query, { variables: { after: cursor } }),
    await watchStream(gateway, query, { lastEventId }),
  ];
  await until(() => again.results.length === 1 && streamAgain.blocks.some(({ data }) => data !== null));
  expect(again.results[0]?.data?.deliveryFeed.cursor).toBe(
    streamAgain.blocks.find(({ data }) => data !== null)?.data?.data?.deliveryFeed.cursor,
  );
  again.socket.terminate();
  streamAgain.stop();
});

test('who subscribes over a socket is told UNAVAILABLE and when to come back; the socket stays', async () => {
  await freeze();
  const client = createClient({
    url: gateway.websocketUrl,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: 'Bearer ours' },
    retryAttempts: 0,
  });
  const told = await new Promise<unknown>((resolve) => {
    client.subscribe({ query }, { next: resolve, error: resolve, complete: () => resolve('complete') });
  });
  expect(told).toMatchObject({ errors: [{ extensions: { code: 'UNAVAILABLE', retryAfterSeconds: 2 } }] });
  await client.dispose();
});

test.each([
  ['a stream', 'text/event-stream', query],
  ['a stream of statistics', 'text/event-stream', 'subscription { deliveryStatsTicked { complete } }'],
  ['the cursor', 'application/json', '{ feedCursor }'],
])('who asks for %s is answered 503 with Retry-After and UNAVAILABLE', async (_what, accept, document) => {
  await freeze();
  const response = await ask(accept, document);
  const text = await response.text();
  expect([response.status, response.headers.get('retry-after')]).toEqual([503, '2']);
  expect(text).toContain('"code":"UNAVAILABLE"');
  expect(text).toContain('"retryAfterSeconds":2');
  expect(text).not.toMatch(/^id:/m); // which would have an EventSource forget its place
});

test('a test of a webhook is not sent while nobody could tell of its answer', async () => {
  await freeze();
  const sent = fixture.enqueued.length;
  const document = 'mutation ($id: ID!) { testWebhook(input: { id: $id }) { userErrors { code } } }';
  const response = await ask('application/json', document, { id: webhookId });
  expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'UNAVAILABLE' } }] });
  expect(fixture.enqueued).toHaveLength(sent);
});

test('a mutation is answered as quickly as ever, and its loss is told once Redis is back', async () => {
  const cursor = (await feed.subscribe(fixture.projectId)).cursor;
  await freeze();
  const startedAtMs = performance.now();
  const document =
    'mutation ($id: ID!) { pauseWebhook(input: { id: $id }) { webhook { status } userErrors { code } } }';
  const response = await ask('application/json', document, { id: webhookId });
  expect(performance.now() - startedAtMs).toBeLessThan(1_000);
  expect(await response.json()).toMatchObject({ data: { pauseWebhook: { webhook: { status: 'PAUSED' } } } });
  redis.thaw();
  await vi.waitFor(
    async () =>
      await expect(feed.subscribe(fixture.projectId, { after: cursor })).rejects.toMatchObject({
        code: 'CURSOR_EXPIRED',
      }),
    { timeout: 5_000 },
  );
});
