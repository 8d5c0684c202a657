import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { idFromUuid, type ProjectId, type WebhookId } from '../../src/domain/ids.ts';
import type { FeedEntry } from '../../src/feed/feed.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { startFeedGateway, watchSocket, watchStream } from '../support/feed-gateway.ts';
import type { Holders, WatchedResult } from '../support/feed-gateway.ts';
import { until } from '../support/gateway-fixture.ts';
import type { GatewayFixture } from '../support/gateway-fixture.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDelivery, addWebhook } from '../support/store-fixture.ts';

let fixture: SchemaFixture;
let gateway: GatewayFixture;
let webhookId: WebhookId;
let strangersWebhookId: WebhookId;
const holders: Holders = new Map();

beforeAll(async () => {
  fixture = await openSchemaFixture();
  webhookId = await addWebhook(fixture);
  strangersWebhookId = await addWebhook({ ...fixture, projectId: fixture.strangerId });
  gateway = await startFeedGateway(fixture, holders);
});
afterAll(async () => {
  await gateway[Symbol.asyncDispose]();
  await fixture[Symbol.asyncDispose]();
});
beforeEach(() => {
  holders.set('ours', { projectId: fixture.projectId, permissions: ['VIEW_WEBHOOKS'] });
  holders.set('ours2', { projectId: fixture.projectId, permissions: ['VIEW_WEBHOOKS'] });
  holders.set('more', { projectId: fixture.projectId, permissions: ['VIEW_WEBHOOKS', 'MANAGE_WEBHOOKS'] });
  holders.set('stranger', { projectId: fixture.strangerId, permissions: ['VIEW_WEBHOOKS'] });
});

/** A change that says nothing but its label, as the response of an attempt. */
function entryOf(label: string, of: WebhookId = webhookId): FeedEntry {
  const at = new Date().toISOString();
  return {
    change: 'ATTEMPTED',
    at,
    webhookId: of,
    eventType: 'config.deployed',
    delivery: {
      id: idFromUuid('delivery', newUuid()),
      eventId: idFromUuid('event', newUuid()),
      webhookId: of,
      status: 'DELIVERED',
      attemptCount: 1,
      maxAttempts: 6,
      roundStart: 0,
      trigger: 'AUTOMATIC',
      dueAt: null,
      failureReason: null,
      createdAt: at,
      finishedAt: at,
    },
    attempt: {
      id: idFromUuid('attempt', newUuid()),
      number: 1,
      outcome: 'SUCCEEDED',
      trigger: 'AUTOMATIC',
      startedAt: at,
      durationMs: 1,
      dnsMs: null,
      connectMs: null,
      tlsMs: null,
      firstByteMs: null,
      responseStatus: 200,
      errorCode: null,
      errorMessage: label,
    },
  };
}

async function publish(labels: readonly string[], projectId: ProjectId = fixture.projectId): Promise<void> {
  const of = projectId === fixture.projectId ? webhookId : strangersWebhookId;
  await fixture.feed.publish(
    projectId,
    labels.map((label) => entryOf(label, of)),
  );
}

/** The labels of results of a subscription to `attempt { errorMessage }`. */
function labelsOf(results: readonly (WatchedResult | null)[]): (string | undefined)[] {
  return results.filter((result) => result !== null).map(({ data }) => data?.deliveryFeed.attempt.errorMessage);
}

/** The webhooks that results are of. */
function webhookIds(results: readonly WatchedResult[]): unknown[] {
  return [...new Set(results.map(({ data }) => data?.deliveryFeed.webhook.id))];
}

const watched = 'subscription ($after: String) { deliveryFeed(after: $after) { cursor attempt { errorMessage } } }';
const withWebhook =
  'subscription ($after: String) { deliveryFeed(after: $after) { attempt { errorMessage } webhook { id } } }';
const numbered = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => String(from + index));

async function feedCursor(key = 'ours'): Promise<string> {
  const response = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ query: '{ feedCursor }' }),
  });
  return ((await response.json()) as { data: { feedCursor: string } }).data.feedCursor;
}

test('an item is executed once for all who subscribed to the same, on both transports and with any key of the project', async () => {
  const variables = { after: await feedCursor() };
  const sockets = await Promise.all(
    ['ours', 'ours2', 'ours', 'ours'].map(
      async (key, index) => await watchSocket(gateway, withWebhook, { key, id: `id ${index}`, variables }),
    ),
  );
  const streams = await Promise.all([1, 2].map(async () => await watchStream(gateway, withWebhook, { variables })));
  const seen = (): number[] => [
    ...sockets.map(({ results }) => results.length),
    ...streams.map(({ blocks }) => blocks.filter(({ data }) => data !== null).length),
  ];
  await publish(['begun']);
  await until(() => seen().every((count) => count === 1));
  for (let round = 1; round <= 3; round += 1) {
    fixture.statements.length = 0;
    await publish([`round ${round}`]);
    await until(() => seen().every((count) => count === round + 1));
    expect(fixture.statements).toHaveLength(1);
  }
  const expected = ['begun', 'round 1', 'round 2', 'round 3'];
  for (const { results } of sockets) expect(labelsOf(results)).toEqual(expected);
  for (const { blocks } of streams) expect(labelsOf(blocks.map(({ data }) => data))).toEqual(expected);
  for (const { socket } of sockets) socket.terminate();
  for (const stream of streams) stream.stop();
});

test('another project, other permissions, another operation or other variables are never answered with the same execution', async () => {
  const query =
    'subscription ($ids: [ID!], $after: String) { deliveryFeed(filter: { webhookIds: $ids }, after: $after) ' +
    '{ attempt { errorMessage } webhook { id } } }';
  const ask = async (key: string, ids: string[], text = query) =>
    await watchSocket(gateway, text, { key, variables: { ids, after: await feedCursor(key) } });
  const ours = await ask('ours', [webhookId]);
  const more = await ask('more', [webhookId]);
  const wider = await ask('ours', [webhookId, webhookId]);
  const other = await ask('ours', [webhookId], `${query} `);
  const strange = await ask('stranger', [strangersWebhookId]);
  const all = [ours, more, wider, other, strange];
  await publish(['begun']);
  await publish(['begun'], fixture.strangerId);
  await until(() => all.every(({ results }) => results.length === 1));
  fixture.statements.length = 0;
  await publish(['ours']);
  await publish(['the stranger’s'], fixture.strangerId);
  const last = (results: WatchedResult[]): string | undefined => labelsOf(results).at(-1);
  await until(() => [ours, more, wider, other].every(({ results }) => last(results) === 'ours'));
  await until(() => last(strange.results) === 'the stranger’s');
  expect(fixture.statements).toHaveLength(all.length);
  expect(webhookIds(ours.results)).toEqual([webhookId]);
  expect(webhookIds(strange.results)).toEqual([strangersWebhookId]);
  expect(labelsOf(strange.results)).not.toContain('ours');
  for (const { socket } of all) socket.terminate();
});

test('deliveryUpdated is executed once for all who watch the same delivery, each after the delivery as it was', async () => {
  const deliveryId = await addDelivery(fixture, webhookId, { status: 'RETRYING', attemptCount: 1 });
  const query = 'subscription ($id: ID!) { deliveryUpdated(id: $id) { status webhook { id } } }';
  const watchers = await Promise.all(
    [1, 2, 3].map(async () => await watchSocket(gateway, query, { variables: { id: deliveryId } })),
  );
  await until(() => watchers.every(({ results }) => results.length === 1));
  fixture.statements.length = 0;
  const { delivery, ...rest } = entryOf('x');
  await fixture.feed.publish(fixture.projectId, [{ ...rest, delivery: delivery && { ...delivery, id: deliveryId } }]);
  await until(() => watchers.every(({ results }) => results.length === 2));
  expect(fixture.statements).toHaveLength(1); // the webhook
  for (const { results, socket } of watchers) {
    const statuses = results.map(({ data }) => data?.deliveryUpdated.status);
    expect(statuses).toEqual(['RETRYING', 'DELIVERED']);
    socket.terminate();
  }
});

test('an error in an item is masked for everyone with one request id, which is in the log', async () => {
  const query = 'subscription { deliveryFeed { at } }';
  const watchers = await Promise.all([watchSocket(gateway, query), watchSocket(gateway, query)]);
  await until(async () => {
    await publish(['begun']);
    return watchers.every(({ results }) => results.length > 0);
  });
  await fixture.feed.publish(fixture.projectId, [{ ...entryOf('x'), at: 'no instant' }]);
  const errors = (index: number) => watchers[index]?.results.findLast((result) => result.errors !== undefined)?.errors;
  await until(() => errors(0) !== undefined && errors(1) !== undefined);
  expect(errors(0)).toEqual(errors(1));
  expect(errors(0)?.[0]).toMatchObject({ message: 'Unexpected error', extensions: { code: 'INTERNAL' } });
  const requestId = errors(0)?.[0]?.extensions.requestId ?? 'none';
  expect(gateway.logs().some((line) => line['requestId'] === requestId && line['level'] === 50)).toBe(true);
  for (const { socket } of watchers) socket.terminate();
});

test('the client of graphql-ws gets items of every size in order, and completes when it wants', async () => {
  const client = createClient({
    url: gateway.websocketUrl,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: 'Bearer ours' },
    retryAttempts: 0,
  });
  const labels = [0, 1, 100, 126, 5_000, 65_000, 65_536, 200_000].map((length) => 'x'.repeat(length));
  const after = await feedCursor();
  const iterator = client.iterate({ query: watched, variables: { after } })[Symbol.asyncIterator]();
  const first = iterator.next();
  await publish([...labels, ...numbered(1, 300)]);
  const results = [await first];
  while (results.length < labels.length + 300) results.push(await iterator.next());
  expect(labelsOf(results.map(({ value }) => value as WatchedResult))).toEqual([...labels, ...numbered(1, 300)]);
  await iterator.return?.();
  await until(() => gateway.logs().some(({ operationType }) => operationType === 'subscription'));
  await client.dispose();
});

test('the feed’s cursor is a place to subscribe behind, also before anything was published', async () => {
  await using other = await startFeedGateway(fixture, holders);
  holders.set('new', { projectId: idFromUuid('project', newUuid()), permissions: ['VIEW_WEBHOOKS'] });
  const fresh = holders.get('new')?.projectId ?? fixture.projectId;
  const after = await feedCursor('new');
  await publish(['between'], fresh);
  const watcher = await watchSocket(other, watched, { key: 'new', variables: { after } });
  await publish(['later'], fresh);
  await until(() => watcher.results.length === 2);
  expect(labelsOf(watcher.results)).toEqual(['between', 'later']);
  watcher.socket.terminate();
});

test('a reader that takes nothing holds little, is closed with 1013, and another of the same group gets everything', async () => {
  await using small = await startFeedGateway(fixture, holders, { stalledMs: 500 });
  const variables = { after: await feedCursor() };
  const slow = await watchSocket(small, watched, { variables });
  const fast = await watchSocket(small, watched, { variables });
  slow.socket.pause();
  const label = 'x'.repeat(20_000);
  let published = fast.results.length;
  await until(async () => {
    await publish(Array.from({ length: 20 }, () => label));
    published += 20;
    return small.logs().some(({ msg }) => msg === 'a reader that takes nothing is cut off');
  }, 15_000);
  const cut = small.logs().find(({ msg }) => msg === 'a reader that takes nothing is cut off');
  expect(cut?.['waitingBytes']).toBeLessThan(300_000);
  slow.socket.resume();
  expect(await slow.closed).toEqual([1013, 'Try again later']);
  await until(() => fast.results.length === published);
  expect(fast.socket.readyState).toBe(WebSocket.OPEN);
  fast.socket.terminate();
});

test('a reader that pauses goes on where it was, without gap or duplicate', async () => {
  const watcher = await watchSocket(gateway, watched, { variables: { after: await feedCursor() } });
  await publish(['0']);
  await until(() => watcher.results.length === 1);
  watcher.socket.pause();
  const padded = numbered(1, 600).map((label) => label.padStart(20_000, ' '));
  for (let from = 0; from < padded.length; from += 50) await publish(padded.slice(from, from + 50));
  watcher.socket.resume();
  await until(() => watcher.results.length === 601, 15_000);
  expect(labelsOf(watcher.results).map((label) => label?.trim())).toEqual(numbered(0, 600));
  watcher.socket.terminate();
});

test('a stream says where it begins, gives every item an id, and resumes behind the last without gap or duplicate', async () => {
  const first = await watchStream(gateway, watched);
  expect(first.blocks[0]).toMatchObject({ event: null, data: null, retry: '1000' });
  const startId = first.lastEventId();
  expect(startId).toMatch(/^[0-9a-f]{16}-\d+$/);
  await publish(numbered(1, 5));
  await until(() => first.blocks.length === 6);
  for (const { id, data } of first.blocks.slice(1)) {
    expect(id).toBe(data?.data?.deliveryFeed.cursor);
  }
  const middleId = first.blocks[3]?.id ?? null;
  first.stop();
  await first.ended;
  await publish(numbered(6, 9));
  const resumed = await watchStream(gateway, watched, { lastEventId: middleId });
  await publish(['10']);
  await until(() => resumed.blocks.length === 8);
  expect(labelsOf(resumed.blocks.map(({ data }) => data))).toEqual(numbered(4, 10));
  resumed.stop();
  const variables = { after: startId };
  const explicit = await watchStream(gateway, watched, { lastEventId: middleId, variables });
  await until(() => explicit.blocks.length === 11);
  expect(labelsOf(explicit.blocks.map(({ data }) => data))).toEqual(numbered(1, 10));
  explicit.stop();
});

test('a stream’s heartbeat moves its place past items that its filter hides', async () => {
  await using quick = await startFeedGateway(fixture, holders, { pingMs: 30 });
  const failures = watched.replace('after: $after', 'after: $after, filter: { onlyFailures: true }');
  const stream = await watchStream(quick, failures);
  const startId = stream.lastEventId();
  await publish(numbered(1, 3));
  await until(() => stream.lastEventId() !== startId);
  expect(stream.lastEventId()).toBe(await feedCursor());
  expect(stream.blocks.every(({ data }) => data === null)).toBe(true);
  stream.stop();
});

test('a Last-Event-ID that is no cursor is refused in the stream', async () => {
  const stream = await watchStream(gateway, watched, { lastEventId: 'nonsense' });
  await stream.ended;
  expect(JSON.stringify(stream.blocks)).toContain('BAD_USER_INPUT');
  expect(stream.blocks.at(-1)?.event).toBe('complete');
});

test.each(['nonsense', '0123456789abcdef-1'])(
  'a client that comes with the place %s forgets it',
  async (lastEventId) => {
    const stream = await watchStream(gateway, watched, { lastEventId });
    await stream.ended;
    expect(stream.blocks.map(({ event, id }) => [event, id])).toEqual([
      ['next', ''],
      ['complete', null],
    ]);
  },
);

test('a client keeps its place when anything else is wrong', async () => {
  const stream = await watchStream(gateway, 'subscription { deliveryFeed(filter: 1) { cursor } }', {
    lastEventId: await feedCursor(),
  });
  await stream.ended;
  expect(JSON.stringify(stream.blocks)).toContain('BAD_USER_INPUT');
  expect(stream.blocks.every(({ id }) => id === null)).toBe(true);
});

test('a query is answered over server-sent events as well', async () => {
  const stream = await watchStream(gateway, '{ feedCursor }');
  await stream.ended;
  expect(stream.blocks.map(({ event }) => event)).toEqual([null, 'next', 'complete']);
});

test('a stream whose reader takes nothing is cut, and leaves nothing behind', async () => {
  await using small = await startFeedGateway(fixture, holders, { stalledMs: 300 });
  const response = await fetch(`${small.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'text/event-stream', authorization: 'Bearer ours' },
    body: JSON.stringify({ query: watched }),
  });
  const label = 'x'.repeat(50_000);
  await until(async () => {
    await publish(Array.from({ length: 20 }, () => label));
    return small.logs().some(({ msg }) => msg === 'a reader that takes nothing is cut off');
  }, 15_000);
  const cut = small.logs().find(({ msg }) => msg === 'a reader that takes nothing is cut off');
  expect(cut?.['waitingBytes']).toBeLessThan(600_000);
  await expect(response.text()).rejects.toThrow('terminated');
});

test('a key that may not view any more is cut off, others of its former group go on', async () => {
  await using live = await startFeedGateway(fixture, holders, { reauthenticateMs: 40 });
  const demoted = await watchSocket(live, watched, { key: 'ours' });
  const stream = await watchStream(live, watched, { key: 'ours' });
  const kept = await watchSocket(live, watched, { key: 'ours2' });
  await until(async () => {
    await publish(['before']);
    return demoted.results.length > 0 && kept.results.length > 0 && stream.blocks.length > 1;
  });
  holders.set('ours', { projectId: fixture.projectId, permissions: ['EMIT_EVENTS'] });
  expect(await demoted.closed).toEqual([4403, 'Forbidden']);
  await stream.ended;
  await publish(['secret']);
  await until(() => labelsOf(kept.results).at(-1) === 'secret');
  expect(JSON.stringify([demoted.results, stream.blocks])).not.toContain('secret');
  kept.socket.terminate();
});

test('clients of a gateway that stops see 1001 or the end of their stream, and resume at another without loss', async () => {
  const stopping = await startFeedGateway(fixture, holders);
  const after = await feedCursor();
  const [socket, stream] = await Promise.all([
    watchSocket(stopping, watched, { variables: { after } }),
    watchStream(stopping, watched, { lastEventId: after }),
  ]);
  let published = 0;
  const publishing = (async (): Promise<void> => {
    while (published < 400) {
      await publish(numbered(published + 1, published + 10));
      published += 10;
    }
  })();
  await until(() => socket.results.length > 50 && stream.blocks.length > 50);
  await stopping[Symbol.asyncDispose]();
  expect(await socket.closed).toEqual([1001, 'Going away']);
  await stream.ended;
  const lastCursor = socket.results.at(-1)?.data?.deliveryFeed.cursor;
  const nextSocket = await watchSocket(gateway, watched, { variables: { after: lastCursor } });
  const nextStream = await watchStream(gateway, watched, { lastEventId: stream.lastEventId() });
  await publishing;
  const socketLabels = (): unknown[] => labelsOf([...socket.results, ...nextSocket.results]);
  const streamLabels = (): unknown[] => labelsOf([...stream.blocks, ...nextStream.blocks].map(({ data }) => data));
  await until(() => socketLabels().length >= 400 && streamLabels().length >= 400);
  expect(socketLabels()).toEqual(numbered(1, 400));
  expect(streamLabels()).toEqual(numbered(1, 400));
  nextSocket.socket.terminate();
  nextStream.stop();
});
