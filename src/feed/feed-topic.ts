import { cursorExpired, cursorText } from './cursor.ts';
import type { FeedPosition } from './cursor.ts';
import { FeedRing } from './feed-ring.ts';
import type { FeedEntry, FeedError, FeedItem } from './feed.ts';

/**
 * What a process knows of one project's feed: the newest items, shared by all its subscriptions, how far the feed has
 * come, and who waits for more. `head` may be ahead of the items: what is missing is then in the log.
 */
export class FeedTopic {
  readonly #recent: FeedRing;
  readonly #waiting = new Set<() => void>();
  #epoch: string;
  #head: number;
  #failure: FeedError | null = null;

  constructor(ringSize: number, epoch: string, head: number) {
    this.#recent = new FeedRing(ringSize);
    this.#recent.restart(head + 1);
    this.#epoch = epoch;
    this.#head = head;
  }

  get epoch(): string {
    return this.#epoch;
  }

  /** Number of the newest published item known of. */
  get head(): number {
    return this.#head;
  }

  /** Number of the oldest item in memory; `head + 1` when there is none. */
  get first(): number {
    return this.#recent.first;
  }

  /** Takes entries of the current epoch, the first of which is item `first`. Known ones are passed over; a hole forgets what is before it. */
  append(first: number, entries: readonly FeedEntry[]): void {
    if (first > this.#recent.next) this.#recent.restart(first);
    for (const [index, entry] of entries.entries()) {
      const n = first + index;
      if (n === this.#recent.next) this.#recent.push({ cursor: cursorText(this.#epoch, n), entry });
    }
    this.#advance(this.#recent.next - 1);
  }

  /** Gives the error to everyone who reads, until how far the log has come is learnt again. */
  fail(error: FeedError): void {
    this.#failure = error;
    this.wake();
  }

  /** Learns how far the log has come; another epoch forgets all items. */
  learn(epoch: string, head: number): void {
    this.#failure = null;
    if (epoch === this.#epoch) {
      this.#advance(head);
      return;
    }
    this.#epoch = epoch;
    this.#head = head;
    this.#recent.restart(head + 1);
    this.wake();
  }

  /**
   * The item after the position, `'LATER'` when it is not published yet, `'LOG'` when it is but not in memory. Throws
   * FeedError CURSOR_EXPIRED when the epoch is over, or what it was made to fail with.
   */
  read(position: FeedPosition): FeedItem | 'LATER' | 'LOG' {
    if (this.#failure !== null) throw this.#failure;
    if (position.epoch !== this.#epoch) throw cursorExpired(position);
    if (position.n >= this.#head) return 'LATER';
    return this.#recent.find(position.n + 1) ?? 'LOG';
  }

  /** Calls `wake` once, at the next change; gives the function that forgets it. */
  onceChanged(wake: () => void): () => void {
    this.#waiting.add(wake);
    return () => this.#waiting.delete(wake);
  }

  /** Calls everyone who waits. */
  wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  #advance(head: number): void {
    if (head <= this.#head) return;
    this.#head = head;
    this.wake();
  }
}
