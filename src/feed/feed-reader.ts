import { cursorText } from './cursor.ts';
import type { FeedPosition } from './cursor.ts';
import type { FeedItem, FeedSubscription } from './feed.ts';

/** Where a reader gets its items from: one project's topic and log. */
export interface FeedSource {
  /**
   * The item after the position; null when it is not published yet; a page of the log, beginning with that item, when it is
   * not in memory (an empty page means: ask again). Throws or rejects with FeedError CURSOR_EXPIRED.
   */
  read(position: FeedPosition): FeedItem | null | Promise<readonly FeedItem[]>;
  /** Calls `wake` once, when `read` may answer otherwise; gives the function that forgets it. */
  onceChanged(wake: () => void): () => void;
}

/**
 * A subscription as a position that is pulled along: it holds at most one page of the log, so a reader that is slow, or
 * never reads, costs nothing and delays nobody. Concurrent `next()` calls are answered in order.
 */
export class FeedReader implements FeedSubscription {
  readonly #source: FeedSource;
  readonly #onEnd: (reader: FeedReader) => void;
  readonly #signal: AbortSignal | undefined;
  #position: FeedPosition;
  #page: Iterator<FeedItem, unknown> = [].values();
  #turn: Promise<unknown> = Promise.resolve();
  /** Ends the wait of the `next()` under way. */
  #resume: (() => void) | null = null;
  #ended = false;

  /** `onEnd` is called once, however the reader ends; with a signal that is already aborted, before this returns. */
  constructor(
    source: FeedSource,
    position: FeedPosition,
    onEnd: (reader: FeedReader) => void,
    signal: AbortSignal | undefined,
  ) {
    this.#source = source;
    this.#position = position;
    this.#onEnd = onEnd;
    this.#signal = signal;
    if (signal?.aborted === true) this.end();
    else signal?.addEventListener('abort', this.end, { once: true });
  }

  get cursor(): string {
    return cursorText(this.#position.epoch, this.#position.n);
  }

  get ended(): boolean {
    return this.#ended;
  }

  peek(countMax: number): readonly FeedItem[] | Promise<readonly FeedItem[]> {
    const { epoch, n } = this.#position;
    const items: FeedItem[] = [];
    while (!this.#ended && items.length < countMax) {
      const found = this.#source.read({ epoch, n: n + items.length });
      if (found === null) break;
      if (found instanceof Promise) {
        if (items.length === 0) return found.then((page) => page.slice(0, countMax));
        found.catch(() => {}); // it is asked for again from its own place
        break;
      }
      items.push(found);
    }
    return items;
  }

  skip(count: number): void {
    this.#page = [].values();
    this.#position = { epoch: this.#position.epoch, n: this.#position.n + count };
  }

  onceChanged(wake: () => void): () => void {
    if (this.#ended) queueMicrotask(wake);
    this.#resume = wake;
    return this.#source.onceChanged(wake);
  }

  async next(): Promise<IteratorResult<FeedItem, undefined>> {
    const result = this.#turn.then(async () => await this.#pull());
    this.#turn = result.catch(() => {}); // its caller has the error; the next call finds the reader ended
    return await result;
  }

  async return(): Promise<IteratorResult<FeedItem, undefined>> {
    this.end();
    return await Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the reader; a `next()` that waits is answered with `done`. Harmless when it has ended. */
  readonly end = (): void => {
    if (this.#ended) return;
    this.#ended = true;
    this.#page = [].values();
    this.#signal?.removeEventListener('abort', this.end);
    this.#resume?.();
    this.#onEnd(this);
  };

  async #pull(): Promise<IteratorResult<FeedItem, undefined>> {
    try {
      while (!this.#ended) {
        const found = this.#findInPage() ?? this.#source.read(this.#position);
        if (found === null) await this.#waitForChange();
        else if (found instanceof Promise) await this.#turnPage(found);
        else return this.#pass(found);
      }
    } catch (error) {
      this.end();
      throw error;
    }
    return { done: true, value: undefined };
  }

  #findInPage(): FeedItem | null {
    const result = this.#page.next();
    return result.done === true ? null : result.value;
  }

  #pass(item: FeedItem): IteratorResult<FeedItem, undefined> {
    this.#position = { epoch: this.#position.epoch, n: this.#position.n + 1 };
    return { done: false, value: item };
  }

  async #waitForChange(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#resume = resolve;
    const forget = this.#source.onceChanged(resolve);
    await promise;
    forget();
  }

  /** Waits for a page of the log, or for the end of this reader: an outage may hold the page back for long. */
  async #turnPage(reading: Promise<readonly FeedItem[]>): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly FeedItem[]>();
    this.#resume = () => resolve([]);
    reading.then(resolve, reject);
    this.#page = (await promise).values();
  }
}
