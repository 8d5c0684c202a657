import { randomUUID } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { RateLimit } from '../../src/rate-limit/rate-limit.ts';

// What the tests of the rate limit share: keys, and watching what is granted over time.

/** One start in 100 seconds: nothing comes back while a test runs. */
export const verySlow = 0.01;

/** A key that no other test uses. */
export function newKey(): string {
  return `webhook:${randomUUID()}`;
}

/** Starts that were granted at a moment between two. */
interface Grant {
  askedAtMs: number;
  answeredAtMs: number;
  granted: number;
}

/** Asks all limits at once, again and again, until `enough` starts of the key were granted. */
export async function takeUntil(
  limits: readonly RateLimit[],
  key: string,
  perSecond: number,
  enough: number,
): Promise<Grant[]> {
  const grants: Grant[] = [];
  let total = 0;
  while (total < enough) {
    const asking = [...limits, ...limits, ...limits, ...limits].map(async (limit, index): Promise<Grant> => {
      const askedAtMs = performance.now();
      const { granted } = await limit.take(key, perSecond, 1 + index);
      return { askedAtMs, answeredAtMs: performance.now(), granted };
    });
    for (const grant of await Promise.all(asking)) {
      total += grant.granted;
      if (grant.granted > 0) grants.push(grant);
    }
    await turn();
  }
  return grants;
}

/** By how many starts the fullest window goes over the rate and its burst; negative when none does. */
export function excess(grants: readonly Grant[], perSecond: number): number {
  const burst = Math.max(1, perSecond / 10);
  const byAnswer = [...grants].sort((a, b) => a.answeredAtMs - b.answeredAtMs);
  let most = Number.NEGATIVE_INFINITY;
  for (const { askedAtMs } of grants) {
    let granted = 0;
    for (const grant of byAnswer.filter((other) => other.askedAtMs >= askedAtMs)) {
      granted += grant.granted;
      most = Math.max(most, granted - (perSecond * (grant.answeredAtMs - askedAtMs)) / 1000 - burst);
    }
  }
  return most;
}
