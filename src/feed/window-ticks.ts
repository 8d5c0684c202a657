import { setTimeout } from 'node:timers/promises';
import type { ProjectId, WebhookId } from '../domain/ids.ts';
import type { Feed, FeedSubscription } from './feed.ts';
import { createWindowCounter, type FeedWindow } from './feed-window.ts';

/** What is counted, and how often it is told. */
export interface TickOptions {
  /** Null counts the whole project. */
  webhookIds: readonly WebhookId[] | null;
  everyMs: number;
  /** Told why the feed was interrupted; the ticks go on. */
  onWarning: (message: string, error: unknown) => void;
}

/** Windows as they end: a reader that is slow gets the newest, and never more than one waits for it. */
export type TickSubscription = AsyncIterableIterator<FeedWindow>;

/** How long a feed that failed is left alone. */
const resubscribeMs = 1_000;

/**
 * Tells what happened in each window of `everyMs`. All who ask one feed for the same share one reader and one timer,
 * which end with the last of them. Rejects when the feed cannot be read; one that fails later leaves windows that are not
 * complete, until it can be read again. Ends when the feed is closed.
 */
export async function subscribeToTicks(
  feed: Feed,
  projectId: ProjectId,
  options: TickOptions,
): Promise<TickSubscription> {
  const shared = sharedByFeed.get(feed) ?? new Map<string, Ticker>();
  sharedByFeed.set(feed, shared);
  const key = JSON.stringify([projectId, options.webhookIds?.toSorted() ?? null, options.everyMs]);
  const ticker = shared.get(key) ?? new Ticker(feed, projectId, options, () => void shared.delete(key));
  shared.set(key, ticker);
  return await ticker.join();
}

const sharedByFeed = new WeakMap<Feed, Map<string, Ticker>>();

/** One reader of the feed and one timer, from the first who joins until the last has left. */
class Ticker {
  readonly #feed: Feed;
  readonly #projectId: ProjectId;
  readonly #options: TickOptions;
  readonly #onEnd: () => void;
  readonly #ending = new AbortController();
  readonly #readers = new Set<TickReader>();
  readonly #counter;
  readonly #started: Promise<void>;
  #timer: NodeJS.Timeout | undefined;

  constructor(feed: Feed, projectId: ProjectId, options: TickOptions, onEnd: () => void) {
    this.#feed = feed;
    this.#projectId = projectId;
    this.#options = options;
    this.#onEnd = onEnd;
    this.#counter = createWindowCounter(options.webhookIds && new Set(options.webhookIds));
    this.#started = this.#start();
  }

  async join(): Promise<TickSubscription> {
    const reader = new TickReader(() => this.#leave(reader));
    this.#readers.add(reader);
    await this.#started;
    return reader;
  }

  async #start(): Promise<void> {
    try {
      const source = await this.#subscribe();
      this.#timer = setInterval(this.#tick, this.#options.everyMs).unref();
      void this.#count(source);
    } catch (error) {
      this.#end();
      throw error;
    }
  }

  async #subscribe(): Promise<FeedSubscription> {
    return await this.#feed.subscribe(this.#projectId, { signal: this.#ending.signal });
  }

  readonly #tick = (): void => {
    const window = this.#counter.turn(new Date());
    for (const reader of this.#readers) reader.give(window);
  };

  /** Never rejects: what goes wrong with the feed is told once, and waited for. */
  async #count(first: FeedSubscription): Promise<void> {
    let told = false;
    for (let source: FeedSubscription | null = first; !this.#ending.signal.aborted;) {
      try {
        source ??= await this.#subscribe();
        told = false;
        this.#counter.resume();
        for await (const { entry } of source) this.#counter.add(entry);
        this.#end(); // the feed was closed, or nobody is left
      } catch (error) {
        source = null;
        this.#counter.interrupt();
        if (!told) this.#options.onWarning('the statistics of a feed were interrupted', error);
        told = true;
        await setTimeout(resubscribeMs, null, { signal: this.#ending.signal, ref: false }).catch(() => null); // ended
      }
    }
  }

  #leave(reader: TickReader): void {
    this.#readers.delete(reader);
    if (this.#readers.size === 0) this.#end();
  }

  #end(): void {
    if (this.#ending.signal.aborted) return;
    this.#ending.abort();
    clearInterval(this.#timer);
    this.#onEnd();
    for (const reader of this.#readers) reader.end();
  }
}

/** One who watches. */
class TickReader implements TickSubscription {
  readonly #onEnd: () => void;
  #newest: FeedWindow | null = null;
  #waiting: (() => void)[] = [];
  #ended = false;

  constructor(onEnd: () => void) {
    this.#onEnd = onEnd;
  }

  give(window: FeedWindow): void {
    this.#newest = window;
    this.#wake();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#newest = null;
    this.#wake();
    this.#onEnd();
  }

  async next(): Promise<IteratorResult<FeedWindow, undefined>> {
    while (this.#newest === null && !this.#ended) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      await promise;
    }
    const value = this.#newest;
    this.#newest = null;
    return value === null ? { done: true, value: undefined } : { done: false, value };
  }

  async return(): Promise<IteratorResult<FeedWindow, undefined>> {
    this.end();
    return await Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
