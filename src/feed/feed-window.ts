import type { WebhookId } from '../domain/ids.ts';
import type { FeedChange, FeedEntry } from './feed.ts';

/** How long attempts took, in milliseconds: the time that this share of them did not exceed. */
export interface LatencyPercentiles {
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
}

/** What happened in a span of time, as the feed told it. */
export interface FeedWindow {
  /** When it ended. */
  at: Date;
  /** How often each change was told. */
  changes: Record<FeedChange, number>;
  succeededCount: number;
  failedCount: number;
  /** Null without attempts. */
  latency: LatencyPercentiles | null;
  /** Whether nothing was missed: false when the feed was interrupted meanwhile. */
  complete: boolean;
}

/** Counts one window after another. */
export interface WindowCounter {
  add(entry: FeedEntry): void;
  /** Something may be missing from here on, */
  interrupt(): void;
  /** and from here on nothing is. */
  resume(): void;
  /** Gives the window that ends now, and begins the next. */
  turn(at: Date): FeedWindow;
}

/** Creates a counter of what concerns the webhooks; null counts all. */
export function createWindowCounter(webhookIds: ReadonlySet<WebhookId> | null): WindowCounter {
  let counts = emptyCounts(true);
  let interrupted = false;
  return {
    add({ change, webhookId, attempt }) {
      if (webhookIds !== null && !webhookIds.has(webhookId)) return;
      counts.changes[change] += 1;
      if (attempt === null) return;
      counts[attempt.outcome] += 1;
      counts.byDurationMs.set(attempt.durationMs, (counts.byDurationMs.get(attempt.durationMs) ?? 0) + 1);
    },
    interrupt() {
      interrupted = true;
      counts.complete = false;
    },
    resume() {
      interrupted = false;
    },
    turn(at) {
      const { changes, SUCCEEDED: succeededCount, FAILED: failedCount, byDurationMs, complete } = counts;
      counts = emptyCounts(!interrupted);
      return { at, changes, succeededCount, failedCount, latency: percentilesOf(byDurationMs), complete };
    },
  };
}

interface Counts {
  changes: Record<FeedChange, number>;
  SUCCEEDED: number;
  FAILED: number;
  /** Attempts by whole milliseconds: exact, and no larger than an attempt can be long, however many there are. */
  byDurationMs: Map<number, number>;
  complete: boolean;
}

function emptyCounts(complete: boolean): Counts {
  const changes = {
    CREATED: 0,
    ATTEMPTED: 0,
    RETRY_SCHEDULED: 0,
    DELIVERED: 0,
    FAILED: 0,
    SKIPPED: 0,
    CANCELLED: 0,
    RESENT: 0,
    WEBHOOK_STATUS_CHANGED: 0,
  };
  return { changes, SUCCEEDED: 0, FAILED: 0, byDurationMs: new Map(), complete };
}

/** As Postgres' percentile_disc: the smallest value that at least that share of the values does not exceed. */
function percentilesOf(countByMs: ReadonlyMap<number, number>): LatencyPercentiles | null {
  const ascending = [...countByMs].toSorted(([a], [b]) => a - b);
  const total = ascending.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return null;
  const at = (share: number): number => {
    let seen = 0;
    const found = ascending.find(([, count]) => (seen += count) >= share * total);
    return found?.[0] ?? 0;
  };
  return { p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) };
}
