import type { Logger } from 'pino';

/** What a process stands on. Each resolves when it does and rejects with the reason when not. */
export interface ReadinessChecks {
  database(): Promise<void>;
  queue(): Promise<void>;
  feed(): Promise<void>;
}

/** How one check went. Reasons are in the log: this is shown to anybody. */
export type CheckResult = 'ok' | 'failed' | 'timeout';

/** What the checks come to. `degraded`: of use all the same. */
export type Readiness = 'ready' | 'degraded' | 'not ready';

/**
 * What the checks come to. A process without its database is of no use. Without the queue or the feed events are still
 * taken, and nothing is lost: all processes share both, and a load balancer that turned away from all of them would make an
 * outage of what is none.
 */
export function readinessOf({ database, queue, feed }: ReadinessResults): Readiness {
  if (database !== 'ok') return 'not ready';
  return queue === 'ok' && feed === 'ok' ? 'ready' : 'degraded';
}

export type ReadinessResults = Record<keyof ReadinessChecks, CheckResult>;

/**
 * Gives the function that asks all checks at once. One that has not answered after `limitMs` counts as `timeout`. However
 * many call it, they are asked once: anybody may, and it takes a connection of the hot path's. What a check fails with is
 * logged when it begins to, and not again before it has answered: whoever balances the load asks every few seconds.
 */
export function createReadinessCheck(
  checks: ReadinessChecks,
  limitMs: number,
  logger: Logger,
): () => Promise<ReadinessResults> {
  const failing = new Set<keyof ReadinessChecks>();
  const ask = async (name: keyof ReadinessChecks): Promise<CheckResult> => {
    const { promise: late, resolve } = Promise.withResolvers<'timeout'>();
    const timer = setTimeout(() => resolve('timeout'), limitMs);
    try {
      const result = await Promise.race([checks[name]().then(() => 'ok' as const), late]);
      if (result === 'ok') failing.delete(name);
      return result;
    } catch (error) {
      if (!failing.has(name)) logger.warn({ err: error, check: name }, 'a readiness check failed');
      failing.add(name);
      return 'failed';
    } finally {
      clearTimeout(timer);
    }
  };
  const askAll = async (): Promise<ReadinessResults> => {
    const [database, queue, feed] = await Promise.all([ask('database'), ask('queue'), ask('feed')]);
    return { database, queue, feed };
  };
  let underWay: Promise<ReadinessResults> | null = null;
  return async () =>
    await (underWay ??= askAll().finally(() => {
      underWay = null;
    }));
}
