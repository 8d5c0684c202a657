import { budgetLeft, budgetRequest, rateRequest, takeAtRate } from '../domain/rate.ts';
import type { Budget, RateRequest, RateState, RateTake } from '../domain/rate.ts';
import type { RateGrant, RateLimit, Spending, SpendingLimit } from './rate-limit.ts';

export interface InProcessRateLimitOptions {
  /** A clock in milliseconds, fractions included; default `performance.now`. */
  now?: () => number;
  /** Keys kept; when more are in use, those taken for longest ago are forgotten and begin anew. Default 100,000, about 20 MB. */
  keysMax?: number;
}

/** A rate limit within this process. */
export function createInProcessRateLimit(options: InProcessRateLimitOptions = {}): RateLimit & SpendingLimit {
  return new InProcessRateLimit(options);
}

class InProcessRateLimit implements RateLimit, SpendingLimit {
  readonly #now: () => number;
  readonly #keysMax: number;
  /** The one taken for longest ago first. */
  readonly #states = new Map<string, RateState>();
  #closed = false;

  constructor(options: InProcessRateLimitOptions) {
    this.#now = options.now ?? (() => performance.now());
    this.#keysMax = options.keysMax ?? 100_000;
  }

  async take(key: string, perSecond: number, wanted: number): Promise<RateGrant> {
    const { granted, waitMs } = this.#take(key, rateRequest(perSecond, wanted));
    return { granted, waitMs };
  }

  async spend(key: string, budget: Budget, cost: number): Promise<Spending> {
    const { granted, waitMs, state } = this.#take(key, budgetRequest(budget, cost));
    return { granted: granted === cost, waitMs, ...budgetLeft(budget, state.leadUs) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#states.clear();
  }

  #take(key: string, request: RateRequest): RateTake {
    if (this.#closed) throw new Error('the rate limit is closed');
    const nowUs = Math.round(this.#now() * 1000);
    const taken = takeAtRate(this.#states.get(key) ?? null, nowUs, request);
    this.#states.delete(key);
    if (this.#states.size >= this.#keysMax) this.#makeRoom(nowUs);
    this.#states.set(key, taken.state);
    return taken;
  }

  /** Drops what has expired, and more until a tenth is free: looking through all keys must not become every call's work. */
  #makeRoom(nowUs: number): void {
    for (const [key, { atUs, leadUs }] of this.#states) if (atUs + leadUs <= nowUs) this.#states.delete(key);
    const kept = Math.floor(this.#keysMax * 0.9);
    for (const key of this.#states.keys()) {
      if (this.#states.size <= kept) return;
      this.#states.delete(key);
    }
  }
}
