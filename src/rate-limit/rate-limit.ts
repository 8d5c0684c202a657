import type { Budget, BudgetLeft } from '../domain/rate.ts';

// src/rate-limit: how many requests may be started per second and key, and how many points may be spent, counted over
// all processes of a deployment.
// Invariant: over any window of n seconds a key is granted at most n · perSecond + max(1, perSecond / 10) starts; without
// its server each process keeps to that by itself, so a key is never without a limit, and nobody waits for the server.
// The worker takes before it sends, the gateway spends before it executes. Two implementations of this one contract:
// in-process-rate-limit.ts and redis-rate-limit.ts; the arithmetic of both is src/domain/rate.ts.

/** What a call was given. */
export interface RateGrant {
  /** Starts granted now, 0 to wanted. */
  granted: number;
  /** Milliseconds until the next start can be granted, to the microsecond; 0 when all were. */
  waitMs: number;
}

/** What spending came to. */
export interface Spending extends BudgetLeft {
  granted: boolean;
  /** Milliseconds until as much can be spent; 0 when it was granted. */
  waitMs: number;
}

/** Grants starts at a rate that all workers share. */
export interface RateLimit extends AsyncDisposable {
  /**
   * Takes up to `wanted` starts (a whole number from 0) for the key at `perSecond` (above 0, may be a fraction). At most
   * max(1, perSecond / 10) are granted at once; a changed `perSecond` applies from the next call. Nothing is reserved for
   * who waits: others may take first. A key that nobody uses is forgotten by itself.
   * Rejects with RangeError naming the number that is out of range, or when the limit is closed; never for its server.
   */
  take(key: string, perSecond: number, wanted: number): Promise<RateGrant>;
}

/** Grants points of a budget that all gateways share. */
export interface SpendingLimit {
  /**
   * Spends `cost` points (a whole number, at most the budget's) of the key's budget, all or none. Over any window of n
   * periods at most n + 1 budgets are spent. Rejects as `take` does.
   */
  spend(key: string, budget: Budget, cost: number): Promise<Spending>;
}
