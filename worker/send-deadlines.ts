/** Something that must have ended by a time, in milliseconds of `performance.now()`. */
export interface Deadlined {
  readonly deadlineAt: number;
  /** Called once the time has come; the entry has been removed by then. */
  expire(): void;
}

/**
 * Everything in flight, with one timer for all. Each entry is given the same time, so the order of insertion is the
 * order of deadlines and only the first need be watched. A timer per request costs 1 µs, an AbortSignal 11 µs; this
 * costs a Set entry, since the timer is left alone when its entry ends early.
 */
export class Deadlines<Entry extends Deadlined> implements Iterable<Entry> {
  readonly #entries = new Set<Entry>();
  #timer: NodeJS.Timeout | null = null;

  /** Adds an entry whose deadline is not before that of any other. */
  add(entry: Entry): void {
    this.#entries.add(entry);
    if (this.#timer === null) this.#timer = this.#arm(entry.deadlineAt);
  }

  delete(entry: Entry): void {
    this.#entries.delete(entry);
  }

  get size(): number {
    return this.#entries.size;
  }

  [Symbol.iterator](): Iterator<Entry> {
    return this.#entries.values();
  }

  #arm(deadlineAt: number): NodeJS.Timeout {
    // Timers may fire up to a millisecond early, which would only arm them again.
    const delayMs = Math.max(1, Math.ceil(deadlineAt - performance.now()));
    return setTimeout(() => this.#fire(), delayMs).unref();
  }

  #fire(): void {
    this.#timer = null;
    const now = performance.now();
    for (const entry of this.#entries) {
      if (entry.deadlineAt > now) {
        this.#timer = this.#arm(entry.deadlineAt);
        return;
      }
      this.#entries.delete(entry);
      entry.expire();
    }
  }
}
