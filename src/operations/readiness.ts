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
export function readinessOf({ database, queue, feed }: Record<keyof ReadinessChecks, CheckResult>): Readiness {
  if (database !== 'ok') return 'not ready';
  return queue === 'ok' && feed === 'ok' ? 'ready' : 'degraded';
}

/** Asks all checks at once. One that has not answered after `limitMs` counts as `timeout`. */
export async function checkReadiness(
  checks: ReadinessChecks,
  limitMs: number,
  logger: Logger,
): Promise<Record<keyof ReadinessChecks, CheckResult>> {
  const ask = async (name: keyof ReadinessChecks): Promise<CheckResult> => {
    const { promise: late, resolve } = Promise.withResolvers<'timeout'>();
    const timer = setTimeout(() => resolve('timeout'), limitMs);
    try {
      return await Promise.race([checks[name]().then(() => 'ok' as const), late]);
    } catch (error) {
      logger.warn({ err: error, check: name }, 'a readiness check failed');
      return 'failed';
    } finally {
      clearTimeout(timer);
    }
  };
  const [database, queue, feed] = await Promise.all([ask('database'), ask('queue'), ask('feed')]);
  return { database, queue, feed };
}
