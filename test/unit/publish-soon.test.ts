import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { publishSoon } from '../../src/feed/publish-soon.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import type { Feed } from '../../src/feed/feed.ts';
import { entryOf, newProjectId, takeLabels } from '../support/feed.ts';

const projectId = newProjectId();
const entries = [entryOf('one')];
let feed: Feed;
const lost: unknown[] = [];

beforeEach(() => {
  feed = createInProcessFeed();
  lost.length = 0;
});
afterEach(async () => {
  vi.useRealTimers();
  await feed[Symbol.asyncDispose]();
});

/** The feed with a publish that takes as long as the promise. */
function publishingIn(promise: Promise<void>): Feed {
  return {
    publish: async () => await promise,
    subscribe: async (...args) => await feed.subscribe(...args),
    expireCursors: () => feed.expireCursors(),
    subscriberCount: 0,
    ping: async () => await feed.ping(),
    [Symbol.asyncDispose]: async () => await feed[Symbol.asyncDispose](),
  };
}

test('what is published soon has been when it resolves', async () => {
  const reader = await feed.subscribe(projectId);
  await publishSoon({ feed, onLost: (error) => lost.push(error) }, projectId, entries);
  expect(await reader.peek(1)).toHaveLength(1);
  expect(await takeLabels(reader, 1)).toEqual(['one']);
  expect(lost).toEqual([]);
});

test('a feed that does not answer holds nobody up for longer than 250 ms, and what follows waits for it', async () => {
  vi.useFakeTimers();
  const { promise, reject } = Promise.withResolvers<void>();
  let [done, followed] = [false, false];
  const follow = async (): Promise<void> => void (followed = true);
  const onLost = (error: unknown): void => void lost.push(error);
  const publishing = publishSoon({ feed: publishingIn(promise), onLost, follow }, projectId, entries);
  void publishing.then(() => (done = true));
  await vi.advanceTimersByTimeAsync(249);
  expect(done).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(done).toBe(true);
  expect(followed).toBe(false);
  reject(new Error('away'));
  await vi.advanceTimersByTimeAsync(0);
  expect(followed).toBe(true);
  expect(lost).toMatchObject([{ message: 'away' }]);
});

test('a feed that fails rejects nothing', async () => {
  const failing = publishingIn(Promise.reject(new Error('away')));
  await publishSoon({ feed: failing, onLost: (error) => lost.push(error) }, projectId, entries);
  expect(lost).toMatchObject([{ message: 'away' }]);
});
