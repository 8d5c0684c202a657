import { createSchema } from 'graphql-yoga';
import { parse } from 'graphql';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Caller, SchemaContext } from '../../schema/context.ts';
import { type LiveItem, liveItems, valueOf } from '../../schema/live-items.ts';
import type { Feed, FeedItem } from '../../src/feed/feed.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import type { Frame } from '../../src/gateway/feed-batch.ts';
import type { FeedSink, LiveSubscription } from '../../src/gateway/live-subscription.ts';
import { createMaskError } from '../../src/gateway/mask-error.ts';
import { createOperationScope } from '../../src/gateway/operation-scope.ts';
import { SharedSubscriptions } from '../../src/gateway/shared-subscriptions.ts';
import { entriesOf, newProjectId } from '../support/feed.ts';
import { until } from '../support/gateway-fixture.ts';
import { startTestRedis, type TestRedis } from '../support/redis.ts';

let redis: TestRedis;
beforeAll(async () => {
  redis = await startTestRedis();
});
afterAll(async () => await redis[Symbol.asyncDispose]());

/** Subscriptions to a field whose executions are counted, each with what it was given. */
function startSubscriptions(feed: Feed) {
  const projectId = newProjectId();
  const executions = new Map<string, number>();
  const schema = createSchema({
    typeDefs: 'type Query { hello: String } type Subscription { label(after: String): String }',
    resolvers: {
      Subscription: {
        label: {
          subscribe: () => null,
          resolve: async (item: LiveItem<FeedItem>) => {
            const { cursor, entry } = valueOf(item);
            executions.set(cursor, (executions.get(cursor) ?? 0) + 1);
            return await Promise.resolve(entry.eventType);
          },
        },
      },
    },
  });
  const logger = pino({ level: 'silent' });
  const subscriptions = new SharedSubscriptions({
    createContext: (caller, requestId) => ({ caller, requestId }) as SchemaContext,
    maskError: createMaskError(logger),
    logger,
  });
  const caller = { projectId, permissions: new Set() } as unknown as Caller;
  const document = parse('subscription ($after: String) { label(after: $after) }');

  /** Opens one behind the cursor; `given` fills once it is started. */
  async function open(after: string | null): Promise<{ live: LiveSubscription; given: string[]; start: () => void }> {
    const subscription = await feed.subscribe(projectId, { after });
    const items = liveItems(subscription, { pick: (item) => item, startArgument: 'after' });
    const scope = createOperationScope('test', 'websocket', caller);
    const live = subscriptions.open({ schema, document, variableValues: { after } }, items, scope);
    if (live === null) throw new Error('there is a caller');
    const given: string[] = [];
    const sink: FeedSink = {
      isReady: () => true,
      closeForNow: () => {},
      write: ({ frames }) => void given.push(...frames.map(labelOf)),
    };
    return { live, given, start: () => live.start(sink) };
  }
  return { projectId, executions, open };
}

const labels = new WeakMap<Frame, string>();

/** The label in a frame, which many are given. */
function labelOf(frame: Frame): string {
  const known = labels.get(frame);
  if (known !== undefined) return known;
  const { label } = (JSON.parse(frame.json.toString()) as { data: { label: string } }).data;
  labels.set(frame, label);
  return label;
}

const expected = (from: number, to: number): string[] =>
  Array.from({ length: to - from + 1 }, (_, index) => String(from + index));

test.each([
  { name: 'in process', start: async (): Promise<Feed> => await Promise.resolve(createInProcessFeed()) },
  {
    name: 'on Redis, through its log',
    start: async () => await startRedisFeed({ url: redis.url, ringSize: 50, onError: () => undefined }),
  },
])('a thousand that resume at one place execute each item a few times, not a thousand ($name)', async ({ start }) => {
  await using feed = await start();
  const { projectId, executions, open } = startSubscriptions(feed);
  const first = await open(null);
  const place = first.live.cursor;
  await feed.publish(projectId, entriesOf(1, 500));
  const herd = await Promise.all(Array.from({ length: 1_000 }, async () => await open(place)));
  for (const { start: begin } of herd) begin();
  for (let from = 501; from <= 600; from += 20) await feed.publish(projectId, entriesOf(from, from + 19));
  await until(() => herd.every(({ given }) => given.length === 600), 15_000);
  expect(new Set(herd.map(({ given }) => given.join(' ')))).toEqual(new Set([expected(1, 600).join(' ')]));
  expect(executions.size).toBe(600);
  expect(Math.max(...executions.values())).toBeLessThanOrEqual(3);
  for (const { live } of [first, ...herd]) live.end();
});

test('those at different places share what they have in common, and one that takes nothing holds nobody up', async () => {
  await using feed = createInProcessFeed();
  const { projectId, executions, open } = startSubscriptions(feed);
  const stuck = await open(null);
  const resumes: (() => void)[] = [];
  let isFree = false;
  let stuckCount = 0;
  stuck.live.start({
    isReady: (resume) => {
      if (!isFree) resumes.push(resume);
      return isFree;
    },
    write: ({ frames }) => void (stuckCount += frames.length),
    closeForNow: () => {},
  });
  const places: string[] = [stuck.live.cursor];
  for (let from = 1; from <= 91; from += 10) {
    await feed.publish(projectId, entriesOf(from, from + 9));
    places.push((await open(null)).live.cursor);
  }
  const readers = await Promise.all(places.map(open));
  for (const { start } of readers) start();
  await until(() => readers.every(({ given }, index) => given.length === 100 - 10 * index));
  for (const [index, { given }] of readers.entries()) expect(given).toEqual(expected(1 + 10 * index, 100));
  expect(Math.max(...executions.values())).toBe(1);
  expect([stuckCount, resumes.length]).toEqual([0, 1]);
  isFree = true;
  resumes[0]?.();
  await until(() => stuckCount === 100);
  for (const { live } of [stuck, ...readers]) live.end();
  await stuck.live.ended;
});

test('who falls behind the log is told CURSOR_EXPIRED as the last thing, and who ends while it waits is given nothing more', async () => {
  await using feed = createInProcessFeed({ logLength: 20 });
  const { projectId, open } = startSubscriptions(feed);
  const late = await open(null);
  const quiet = await open(null);
  quiet.start();
  quiet.live.end();
  await feed.publish(projectId, entriesOf(1, 50));
  const texts: string[] = [];
  late.live.start({
    isReady: () => true,
    closeForNow: () => {},
    write: ({ events }) => void texts.push(events.toString()),
  });
  await late.live.ended;
  expect(texts).toHaveLength(1);
  expect(texts[0]).toMatch(/^id: \n/); // the place is gone, and is not to be asked for again
  expect(texts[0]).toContain('CURSOR_EXPIRED');
  expect(quiet.given).toEqual([]);
});
