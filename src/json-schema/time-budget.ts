/** How much time each key may take, as a share of the time that passes. */
export interface TimeBudgetOptions {
  /** Taken at once by a key that has taken nothing lately. */
  burstMs: number;
  /** Given back per second. */
  perSecondMs: number;
  /** A clock in milliseconds, fractions included; default `performance.now`. */
  now?: () => number;
}

/** Time that was taken and not given back yet, at an instant. */
interface Taken {
  ms: number;
  atMs: number;
}

/** Keys looked at before those that owe nothing are forgotten. */
const keysMax = 10_000;

/** Counts the time that is taken on behalf of each key. */
export class TimeBudget {
  readonly #options: Required<TimeBudgetOptions>;
  readonly #taken = new Map<string, Taken>();

  constructor(options: TimeBudgetOptions) {
    this.#options = { now: () => performance.now(), ...options };
  }

  /** Keys that are kept in mind. */
  get keyCount(): number {
    return this.#taken.size;
  }

  /** Whether the key has taken all that it may for now. */
  isSpent(key: string): boolean {
    return this.#owedMs(this.#taken.get(key)) >= this.#options.burstMs;
  }

  /** Counts time that was taken. */
  take(key: string, ms: number): void {
    const owedMs = this.#owedMs(this.#taken.get(key)) + ms;
    if (this.#taken.size >= keysMax) this.#forgetPaid();
    this.#taken.set(key, { ms: owedMs, atMs: this.#options.now() });
  }

  #owedMs(taken: Taken | undefined): number {
    if (taken === undefined) return 0;
    const passedMs = this.#options.now() - taken.atMs;
    return Math.max(0, taken.ms - (passedMs * this.#options.perSecondMs) / 1000);
  }

  #forgetPaid(): void {
    for (const [key, taken] of this.#taken) if (this.#owedMs(taken) === 0) this.#taken.delete(key);
  }
}
