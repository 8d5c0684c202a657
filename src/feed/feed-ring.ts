import type { FeedItem } from './feed.ts';

/** The newest items of a feed, at most `size` and without holes: what is older is forgotten. Grows as it fills. */
export class FeedRing {
  readonly #size: number;
  #slots: FeedItem[] = [];
  /** Number of the item in slot 0 at the first turn. */
  #base = 1;
  /** Number of the item that will be pushed next. */
  #next = 1;

  constructor(size: number) {
    this.#size = size;
  }

  /** Number of the item that `push` takes next. */
  get next(): number {
    return this.#next;
  }

  /** Number of the oldest kept item; equals `next` when there is none. */
  get first(): number {
    return Math.max(this.#base, this.#next - this.#size);
  }

  /** Forgets everything; the next item pushed is number `next`. */
  restart(next: number): void {
    this.#slots = [];
    this.#base = next;
    this.#next = next;
  }

  /** Appends item number `next`. */
  push(item: FeedItem): void {
    this.#slots[(this.#next - this.#base) % this.#size] = item;
    this.#next += 1;
  }

  /** Item number `n`, or null when it is not kept. */
  find(n: number): FeedItem | null {
    if (n < this.first || n >= this.#next) return null;
    return this.#slots[(n - this.#base) % this.#size] ?? null;
  }
}
