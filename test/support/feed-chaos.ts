import { randomUUID } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Redis } from 'ioredis';
import { schema } from '../../schema/index.ts';
import type { DeliverySnapshot, Feed, FeedEntry } from '../../src/feed/feed.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { seededRandom } from './feed.ts';
import { openFeedStream } from './feed-stream.ts';
import type { FeedPlace, NumberedItem, Transport } from './feed-stream.ts';
import { startTestGateway } from './gateway-fixture.ts';
import { startTestRedis } from './redis.ts';
import { openSchemaFixture } from './schema-fixture.ts';
import type { SchemaFixture } from './schema-fixture.ts';

// Numbered items are published while clients leave and come back at any moment, each time to any gateway, and while the
// connections by which Redis announces items to the gateways are killed. Each client counts what it missed and what it
// saw twice, by the numbers and not by the cursors.

export interface ChaosSettings {
  transport: Transport;
  feed: 'redis' | 'in process';
  itemCount: number;
  clientCount: number;
  /** Decides when clients leave and for how long, as far as the machine repeats itself. */
  seed: number;
}

/** What a run came to. */
export interface ChaosFigures {
  /** Items that the clients took, all together. */
  takenCount: number;
  /** Times that clients came back. */
  reconnectCount: number;
  /** Of these, with `Last-Event-ID` instead of `after`. */
  resumedByEventIdCount: number;
  /** Connections that were killed. */
  killCount: number;
  gapCount: number;
  duplicateCount: number;
  /** The longest that the process, clients and gateways together, was at one thing. */
  longestTurnMs: number;
  seconds: number;
}

interface ChaosClient {
  random: () => number;
  place: FeedPlace;
  /** The number it must see next. */
  next: number;
}

interface ChaosRun {
  settings: ChaosSettings;
  urls: readonly string[];
  clients: readonly ChaosClient[];
  publishedCount: number;
  figures: Omit<ChaosFigures, 'takenCount' | 'longestTurnMs' | 'seconds'>;
  progress: Progress;
}

const killIntervalMs = 150;
/** As long without any progress, a run has failed. */
const stallLimitMs = 60_000;
const entriesPerPublishMax = 50;
const key = 'good';

/**
 * Runs until every client has seen every item. Rejects when a client is refused, with CURSOR_EXPIRED for one, or nothing
 * moves any more.
 */
export async function runFeedChaos(settings: ChaosSettings): Promise<ChaosFigures> {
  await using owned = new AsyncDisposableStack();
  const fixture = owned.use(await openSchemaFixture());
  const { publisher, gatewayFeeds, redisUrl } = await startFeeds(owned, settings);
  const urls: string[] = [];
  for (const feed of gatewayFeeds) urls.push(await startChaosGateway(owned, fixture, feed));
  const cursor = await firstCursor(fixture, publisher);
  const run: ChaosRun = {
    settings,
    urls,
    clients: Array.from({ length: settings.clientCount }, (_, index) => ({
      random: seededRandom(settings.seed * 1_000 + index),
      place: { cursor, eventId: null },
      next: 1,
    })),
    publishedCount: 0,
    figures: {
      reconnectCount: 0,
      resumedByEventIdCount: 0,
      killCount: 0,
      gapCount: 0,
      duplicateCount: 0,
    },
    progress: owned.use(new Progress()),
  };
  const startedAt = performance.now();
  const turns = monitorEventLoopDelay();
  turns.enable();
  if (redisUrl !== null) owned.use(startKiller(redisUrl, run));
  await Promise.all([publishAll(run, fixture, publisher), ...run.clients.map((client) => watchAll(run, client))]).catch(
    (cause: unknown) => {
      const turn = `the longest turn of the event loop took ${Math.round(turns.max / 1e6)} ms`;
      throw new Error(`stopped at ${JSON.stringify(run.figures)}, ${run.publishedCount} items published; ${turn}`, {
        cause,
      });
    },
  );
  const seconds = (performance.now() - startedAt) / 1_000;
  const takenCount = run.clients.reduce((sum, { next }) => sum + next - 1, 0);
  turns.disable();
  return { ...run.figures, takenCount, longestTurnMs: Math.round(turns.max / 1e6), seconds };
}

/** On Redis each gateway has a feed of its own, as processes have, and the publisher another; in process all is one. */
async function startFeeds(
  owned: AsyncDisposableStack,
  { feed, itemCount }: ChaosSettings,
): Promise<{ publisher: Feed; gatewayFeeds: Feed[]; redisUrl: string | null }> {
  if (feed === 'in process') {
    const shared = owned.use(createInProcessFeed());
    return { publisher: shared, gatewayFeeds: [shared, shared], redisUrl: null };
  }
  const { url } = owned.use(await startTestRedis());
  // Some of what clients come back for is in memory, and some only in the log.
  const ringSize = Math.max(1, Math.round(windowOf(itemCount) / 4));
  const start = async (): Promise<Feed> => owned.use(await startRedisFeed({ url, ringSize, onError: () => undefined })); // connections are killed on purpose
  return { publisher: await start(), gatewayFeeds: [await start(), await start()], redisUrl: url };
}

async function startChaosGateway(owned: AsyncDisposableStack, fixture: SchemaFixture, feed: Feed): Promise<string> {
  const { caller } = fixture.contextOf(fixture.projectId, ['VIEW_WEBHOOKS']);
  const gateway = await startTestGateway(
    {},
    {
      schema,
      authenticate: async (given) => (given === key && caller?.kind !== 'ADMINISTRATOR' ? caller : null),
      createContext: (asking, requestId) => ({
        ...fixture.contextOf(fixture.projectId),
        caller: asking,
        requestId,
        feed,
      }),
    },
  );
  owned.use(gateway);
  return gateway.url;
}

/** The cursor behind which item 1 comes. */
async function firstCursor({ projectId }: SchemaFixture, feed: Feed): Promise<string> {
  const subscription = await feed.subscribe(projectId);
  await feed.publish(projectId, [numberedEntry(0)]);
  const { value } = await subscription.next();
  await subscription.return?.();
  if (value === undefined) throw new Error('the feed gave nothing');
  return value.cursor;
}

/**
 * How far the publisher may be ahead of the slowest client: well within the 10,000 items that the log keeps, and no more
 * than everybody can be sent in a turn of this one process.
 */
function windowOf(itemCount: number): number {
  return Math.min(Math.ceil(itemCount / 10), 600);
}

/** Publishes in portions of random size, paced by the slowest client. */
async function publishAll(run: ChaosRun, { projectId }: SchemaFixture, feed: Feed): Promise<void> {
  const { itemCount, seed } = run.settings;
  const random = seededRandom(seed);
  const ahead = (): number => run.publishedCount + 1 - Math.min(...run.clients.map(({ next }) => next));
  while (run.publishedCount < itemCount) {
    await run.progress.until(() => ahead() < windowOf(itemCount));
    const count = Math.min(1 + Math.floor(random() * entriesPerPublishMax), itemCount - run.publishedCount);
    const from = run.publishedCount + 1;
    await feed.publish(
      projectId,
      Array.from({ length: count }, (_, index) => numberedEntry(from + index)),
    );
    run.publishedCount += count;
    run.progress.notify();
  }
}

/** Watches in one stream after the other until it has seen everything. */
async function watchAll(run: ChaosRun, client: ChaosClient): Promise<void> {
  const { itemCount } = run.settings;
  const window = windowOf(itemCount);
  while (client.next <= itemCount) {
    await watchSome(run, client, Math.floor((client.random() * window) / 2));
    if (client.next > itemCount) return;
    // Half of the window at most: the slowest client must wake before the publisher waits for it.
    const missed = Math.floor((client.random() * window) / 2);
    const until = Math.min(client.next + missed, itemCount);
    await run.progress.until(() => run.publishedCount >= until);
    run.figures.reconnectCount += 1;
    if (client.place.eventId !== null) run.figures.resumedByEventIdCount += 1;
  }
}

/** One stream, left after so many items; after none it is left while it opens. */
async function watchSome(run: ChaosRun, client: ChaosClient, most: number): Promise<void> {
  const { urls, settings, figures, progress } = run;
  const abruptly = client.random() < 0.5;
  let left = most;
  const stream = openFeedStream(settings.transport, {
    url: urls[Math.floor(client.random() * urls.length)] ?? '',
    key,
    place: client.place,
    onItem: (item) => {
      if (left <= 0) return; // it has left: what was under way is not seen any more
      take(client, item, figures);
      progress.notify();
      left = item.number === settings.itemCount ? 0 : left - 1;
      if (left === 0) stream.close(abruptly);
    },
  });
  if (most === 0) setImmediate(() => stream.close(abruptly));
  const end = await stream.ended;
  left = 0;
  if (end.kind === 'refused') progress.fail(`a client behind ${client.place.cursor} was refused: ${end.reason}`);
}

function take(client: ChaosClient, { number, cursor, eventId }: NumberedItem, figures: ChaosRun['figures']): void {
  client.place = { cursor, eventId };
  if (number < client.next) figures.duplicateCount += 1;
  figures.gapCount += Math.max(0, number - client.next);
  client.next = Math.max(client.next, number + 1);
}

function startKiller(redisUrl: string, run: ChaosRun): AsyncDisposable {
  const redis = new Redis(redisUrl);
  const kill = async (): Promise<void> => {
    run.figures.killCount += Number(await redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub'));
  };
  let killing = Promise.resolve();
  const timer = setInterval(() => {
    killing = kill();
  }, killIntervalMs);
  return {
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer);
      await killing;
      await redis.quit();
    },
  };
}

/** Wakes those who wait for a condition when something has changed; fails them all when nothing does for long. */
class Progress implements Disposable {
  readonly #waiting = new Set<() => void>();
  #scheduled = false;
  #changedAt = performance.now();
  #failure: Error | null = null;
  readonly #timer = setInterval(() => {
    if (performance.now() - this.#changedAt > stallLimitMs)
      this.fail(`nothing has moved for ${stallLimitMs / 1_000} s`);
  }, 1_000);

  notify(): void {
    this.#changedAt = performance.now();
    if (this.#scheduled || this.#waiting.size === 0) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#wake();
    });
  }

  /** Everybody who waits, now or later, gets an error with the first reason. */
  fail(reason: string): void {
    this.#failure ??= new Error(reason);
    this.#wake();
  }

  async until(condition: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== null) throw this.#failure;
      if (condition()) return;
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  #wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

const webhookId = idFromUuid('webhook', randomUUID());
const at = '2026-01-02T03:04:05.678Z';
const snapshot: DeliverySnapshot = {
  id: idFromUuid('delivery', randomUUID()),
  eventId: idFromUuid('event', randomUUID()),
  webhookId,
  status: 'RETRYING',
  attemptCount: 0,
  maxAttempts: 6,
  roundStart: 0,
  trigger: 'AUTOMATIC',
  dueAt: null,
  failureReason: null,
  createdAt: at,
  finishedAt: null,
};

/** The number travels as the delivery's count of attempts. */
function numberedEntry(number: number): FeedEntry {
  const delivery = { ...snapshot, attemptCount: number };
  return { change: 'ATTEMPTED', at, webhookId, eventType: 'config.deployed', delivery, attempt: null };
}
