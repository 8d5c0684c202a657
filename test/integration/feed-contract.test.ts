import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Feed, FeedItem, FeedSubscription } from '../../src/feed/feed.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import { entriesOf, entryOf, labelOf, labels, newProjectId, seededRandom, take, takeLabels } from '../support/feed.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

let redis: TestRedis;
beforeAll(async () => {
  redis = await startTestRedis();
});
afterAll(async () => await redis[Symbol.asyncDispose]());

const unexpected: unknown[] = [];

interface FeedSettings {
  logLength?: number;
}

const implementations = [
  { name: 'in process', start: async (settings: FeedSettings = {}): Promise<Feed> => createInProcessFeed(settings) },
  {
    name: 'on Redis',
    // A ring smaller than what most tests publish, so that the log is read too.
    start: async (settings: FeedSettings = {}): Promise<Feed> =>
      await startRedisFeed({
        url: redis.url,
        ringSize: 50,
        onError: (error) => unexpected.push(error),
        ...settings,
      }),
  },
];

const collectGarbage = ((): (() => void) => {
  setFlagsFromString('--expose_gc');
  return runInNewContext('gc') as () => void;
})();

async function cursorsOf(feed: Feed, projectId: ReturnType<typeof newProjectId>, count: number): Promise<string[]> {
  const subscription = await feed.subscribe(projectId);
  await feed.publish(projectId, entriesOf(1, count));
  const items = await take(subscription, count);
  await subscription.return?.();
  return items.map((item) => item.cursor);
}

const ended = { done: true, value: undefined };

/** What is behind the reader's place, at most seven items, once there is something. */
async function peekSome(reader: FeedSubscription): Promise<readonly FeedItem[]> {
  return await vi.waitFor(async () => {
    const items = await reader.peek(7);
    if (items.length === 0) throw new Error('nothing is there');
    return items;
  });
}

describe.each(implementations)('the feed $name', ({ start }) => {
  test('without a cursor a subscription gives what is published after it, also when others read already', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    await feed.publish(projectId, [entryOf('before')]);
    const first = await feed.subscribe(projectId);
    await feed.publish(projectId, [entryOf('between')]);
    const second = await feed.subscribe(projectId);
    await feed.publish(projectId, [entryOf('after')]);
    expect(await takeLabels(first, 2)).toEqual(['between', 'after']);
    expect(await takeLabels(second, 1)).toEqual(['after']);
  });

  test('what is behind a place can be looked at without moving on, through the log and on to live, and news wakes once it is there', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const reader = await feed.subscribe(projectId);
    const beginning = reader.cursor;
    expect(await reader.peek(10)).toEqual([]);
    const woken = new Promise<void>((resolve) => reader.onceChanged(resolve));
    await feed.publish(projectId, entriesOf(1, 120));
    await woken;
    const first = await peekSome(reader);
    expect(first[0] && labelOf(first[0])).toBe('1');
    expect(reader.cursor).toBe(beginning);
    expect((await peekSome(reader))[0]?.cursor).toBe(first[0]?.cursor);
    const seen: (string | null)[] = [];
    while (seen.length < 120) {
      const items = await peekSome(reader);
      seen.push(...items.map(labelOf));
      reader.skip(items.length);
      expect(reader.cursor).toBe(items.at(-1)?.cursor);
    }
    expect(seen).toEqual(labels(1, 120));
    expect([await reader.peek(10), reader.ended]).toEqual([[], false]);
    const wokenAtEnd = new Promise<void>((resolve) => reader.onceChanged(resolve));
    await reader.return?.();
    await wokenAtEnd;
    expect([await reader.peek(10), reader.ended]).toEqual([[], true]);
  });

  test('every cursor resumes with the very next item, through the log and on to live, in order', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const cursors = await cursorsOf(feed, projectId, 150);
    const resumed = await Promise.all(cursors.map(async (after) => await feed.subscribe(projectId, { after })));
    await feed.publish(projectId, entriesOf(151, 160));
    for (const [index, subscription] of resumed.entries()) {
      const rest = labels(index + 2, 160);
      expect(await takeLabels(subscription, rest.length)).toEqual(rest);
    }
  });

  test('a reader that leaves and resumes while items are published misses none and gets none twice', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const random = seededRandom(7);
    const last = 1000;
    const read: (string | null)[] = [];
    let subscription = await feed.subscribe(projectId);
    const publishing = (async () => {
      for (let n = 1; n <= last; n += 10) await feed.publish(projectId, entriesOf(n, n + 9));
    })();
    while (read.length < last) {
      const items = await take(subscription, Math.min(1 + Math.floor(random() * 40), last - read.length));
      read.push(...items.map(labelOf));
      await subscription.return?.();
      subscription = await feed.subscribe(projectId, { after: items.at(-1)?.cursor ?? null });
    }
    await publishing;
    expect(read).toEqual(labels(1, last));
  });

  test('twenty readers of various speeds all get everything in order', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const readers = await Promise.all(Array.from({ length: 20 }, async () => await feed.subscribe(projectId)));
    const reading = readers.map(async (subscription, speed) => {
      const read: (string | null)[] = [];
      while (read.length < 500) {
        read.push(...(await takeLabels(subscription, Math.min(500 - read.length, speed + 1))));
        for (let turns = 0; turns < speed; turns += 1) await turn();
      }
      return read;
    });
    for (let n = 1; n <= 500; n += 5) await feed.publish(projectId, entriesOf(n, n + 4));
    for (const read of await Promise.all(reading)) expect(read).toEqual(labels(1, 500));
  });

  test('readers at the same place are given the same object', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const [one, other] = [await feed.subscribe(projectId), await feed.subscribe(projectId)];
    await feed.publish(projectId, [entryOf('shared')]);
    expect((await take(one, 1))[0]).toBe((await take(other, 1))[0]);
  });

  test('a reader that never reads keeps nothing in memory, delays nobody and finds its cursor expired', async () => {
    await using feed = await start({ logLength: 100 });
    const projectId = newProjectId();
    const idle = await feed.subscribe(projectId);
    const quick = await feed.subscribe(projectId);
    await feed.publish(projectId, [entryOf(1)]);
    const early = await rememberWeakly(quick);
    for (let n = 2; n <= 1001; n += 50) {
      await feed.publish(projectId, entriesOf(n, n + 49));
      expect(await takeLabels(quick, 50)).toEqual(labels(n, n + 49));
    }
    await vi.waitFor(() => {
      collectGarbage();
      expect(early.deref() === undefined).toBe(true); // the item itself in a failed expectation would be kept by it
    });
    await expect(idle.next()).rejects.toMatchObject({ name: 'FeedError', code: 'CURSOR_EXPIRED' });
    expect(await idle.next()).toEqual(ended);
  });

  test('a cursor whose successor the log has dropped is CURSOR_EXPIRED', async () => {
    await using feed = await start({ logLength: 100 });
    const projectId = newProjectId();
    const [after = ''] = await cursorsOf(feed, projectId, 80);
    await using _kept = disposable(await feed.subscribe(projectId, { after }));
    await feed.publish(projectId, entriesOf(81, 1000));
    await expect(feed.subscribe(projectId, { after })).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
  });

  test("another project's cursor, an unknown epoch and a number not reached are CURSOR_EXPIRED", async () => {
    await using feed = await start();
    const [projectId, foreignId] = [newProjectId(), newProjectId()];
    const [own = ''] = await cursorsOf(feed, projectId, 1);
    const [foreign = ''] = await cursorsOf(feed, foreignId, 1);
    for (const after of [foreign, own.replace(/^.{4}/, '0000'), own.replace(/-1$/, '-2')]) {
      await expect(feed.subscribe(projectId, { after })).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
    }
  });

  test.each([
    '',
    'x',
    '12',
    '-1',
    '0123456789abcdef',
    '0123456789abcdef-',
    '0123456789abcdef--1',
    '0123456789abcdef-1e3',
    '0123456789abcdef-01',
    '0123456789ABCDEF-1',
    '0123456789abcdef-9999999999999999',
    '0123456789abcdef-1\n',
    '💥',
  ])('%j is BAD_CURSOR', async (after) => {
    await using feed = await start();
    await expect(feed.subscribe(newProjectId(), { after })).rejects.toMatchObject({ code: 'BAD_CURSOR' });
  });

  test('two projects never mix', async () => {
    await using feed = await start();
    const [red, blue] = [newProjectId(), newProjectId()];
    const [redReader, blueReader] = [await feed.subscribe(red), await feed.subscribe(blue)];
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        await Promise.all([
          feed.publish(red, [entryOf(`red ${index}`)]),
          feed.publish(blue, [entryOf(`blue ${index}`)]),
        ]);
      }),
    );
    expect(await takeLabels(redReader, 100)).toEqual(Array.from({ length: 100 }, (_, index) => `red ${index}`));
    expect(await takeLabels(blueReader, 100)).toEqual(Array.from({ length: 100 }, (_, index) => `blue ${index}`));
  });

  test('the entries of one publish stay together and in order among concurrent publishers', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const subscription = await feed.subscribe(projectId);
    const publishers = Array.from({ length: 20 }, async (_, publisher) => {
      for (let call = 0; call < 10; call += 1) {
        await feed.publish(
          projectId,
          Array.from({ length: 5 }, (_entry, part) => entryOf(`${publisher}/${call}/${part}`)),
        );
      }
    });
    await Promise.all(publishers);
    const read = await takeLabels(subscription, 1000);
    const calls = Array.from({ length: 200 }, (_, index) => read.slice(index * 5, index * 5 + 5));
    const callNames = calls.map(([first]) => first?.replace(/\/0$/, '') ?? '');
    for (const [index, call] of calls.entries()) {
      expect(call).toEqual(Array.from({ length: 5 }, (_, part) => `${callNames[index]}/${part}`));
    }
    for (let publisher = 0; publisher < 20; publisher += 1) {
      const own = callNames.filter((name) => name.startsWith(`${publisher}/`));
      expect(own).toEqual(Array.from({ length: 10 }, (_, call) => `${publisher}/${call}`));
    }
  });

  test('one publish of more entries than fit a flush arrives whole and in order', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const subscription = await feed.subscribe(projectId);
    await feed.publish(projectId, entriesOf(1, 2500));
    await feed.publish(projectId, []);
    expect(await takeLabels(subscription, 2500)).toEqual(labels(1, 2500));
  });

  test('entries come out as they went in, live and from the log', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const text = `"quoted" \\ 'single' \u0000 \n é 漢字 🚀 \u2028 \ud800 </script> ] , [`;
    const entry = { ...entryOf(text), at: '', eventType: text };
    const subscription = await feed.subscribe(projectId);
    await feed.publish(projectId, [entryOf('first'), entry]);
    const [first, live] = await take(subscription, 2);
    expect(live?.entry).toEqual(entry);
    const resumed = await feed.subscribe(projectId, { after: first?.cursor ?? null });
    expect((await take(resumed, 1))[0]).toEqual(live);
  });

  test('a next() that waits is answered with the end by abort, return and dispose', async () => {
    const feed = await start();
    const projectId = newProjectId();
    const controller = new AbortController();
    const aborted = await feed.subscribe(projectId, { signal: controller.signal });
    const returned = await feed.subscribe(projectId);
    const disposed = await feed.subscribe(projectId);
    const waiting = [aborted, returned, disposed].map(async (subscription) => await subscription.next());
    await turn();
    controller.abort();
    expect(await waiting[0]).toEqual(ended);
    expect(await returned.return?.()).toEqual(ended);
    expect(await waiting[1]).toEqual(ended);
    await feed[Symbol.asyncDispose]();
    expect(await waiting[2]).toEqual(ended);
    for (const subscription of [aborted, returned, disposed]) expect(await subscription.next()).toEqual(ended);
  });

  test('it says how many subscriptions have not ended', async () => {
    await using feed = await start();
    expect(feed.subscriberCount).toBe(0);
    const [projectId, stop] = [newProjectId(), new AbortController()];
    const first = await feed.subscribe(projectId);
    await feed.subscribe(projectId, { signal: stop.signal });
    await feed.subscribe(newProjectId());
    await feed.subscribe(projectId, { signal: AbortSignal.abort() });
    expect(feed.subscriberCount).toBe(3);
    await first.return?.();
    stop.abort();
    expect(feed.subscriberCount).toBe(1);
  });

  test('an ended subscription gives nothing more, even when items are waiting', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const [after = null] = await cursorsOf(feed, projectId, 200);
    const subscription = await feed.subscribe(projectId, { after });
    await take(subscription, 1);
    await subscription.return?.();
    expect(await subscription.next()).toEqual(ended);
  });

  test('a subscription with an aborted signal has ended already', async () => {
    await using feed = await start();
    const subscription = await feed.subscribe(newProjectId(), { signal: AbortSignal.abort() });
    expect(await subscription.next()).toEqual(ended);
  });

  test('an abort while subscribing ends the subscription quietly', async () => {
    await using feed = await start();
    const controller = new AbortController();
    const subscribing = feed.subscribe(newProjectId(), { signal: controller.signal });
    controller.abort();
    expect(await (await subscribing).next()).toEqual(ended);
  });

  test('leaving a for-await loop ends the subscription', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const subscription = await feed.subscribe(projectId);
    await feed.publish(projectId, entriesOf(1, 3));
    const read: FeedItem[] = [];
    for await (const item of subscription) {
      read.push(item);
      if (read.length === 2) break;
    }
    expect(read.map(labelOf)).toEqual(labels(1, 2));
    expect(await subscription.next()).toEqual(ended);
  });

  test('concurrent calls of next() are answered in order', async () => {
    await using feed = await start();
    const projectId = newProjectId();
    const subscription = await feed.subscribe(projectId);
    const results = Array.from({ length: 200 }, async () => await subscription.next());
    await feed.publish(projectId, entriesOf(1, 200));
    const read = (await Promise.all(results)).map((result) => (result.done === true ? null : labelOf(result.value)));
    expect(read).toEqual(labels(1, 200));
  });

  test('a disposed feed refuses every call, and disposing it again is harmless', async () => {
    const feed = await start();
    await feed.ping();
    await feed[Symbol.asyncDispose]();
    await feed[Symbol.asyncDispose]();
    await expect(feed.publish(newProjectId(), [entryOf(1)])).rejects.toThrow('the feed is closed');
    await expect(feed.subscribe(newProjectId())).rejects.toThrow('the feed is closed');
    await expect(feed.ping()).rejects.toThrow('the feed is closed');
  });

  test('nothing went wrong that nobody was told of', () => {
    expect(unexpected).toEqual([]);
  });
});

/** In a function of its own, so that no local of the test keeps the item. */
async function rememberWeakly(subscription: FeedSubscription): Promise<WeakRef<FeedItem>> {
  const result = await subscription.next();
  if (result.done === true) throw new Error('the subscription ended');
  return new WeakRef(result.value);
}

function disposable(subscription: FeedSubscription): AsyncDisposable {
  return { [Symbol.asyncDispose]: async () => void (await subscription.return?.()) };
}
