import { endsWithin } from '../src/time-limit.ts';
import { EgressError } from './egress-error.ts';
import type { Lookup } from './egress-lookup.ts';

/** Most lookups under way for checks. */
export const hostChecksMax = 64;

/**
 * Creates the check of a host before anything is sent to it. It gives the sentence that a delivery would fail with when
 * an address of the host is forbidden, and null otherwise: when the name has no address yet, or none is known within
 * `limitMs` or while `hostChecksMax` lookups are under way. That lets nothing through, since every connection is checked
 * anew. `resolve` gives addresses that are not forbidden; see createAddressResolver.
 */
export function createHostCheck(resolve: Lookup, limitMs = 2000): (host: string) => Promise<string | null> {
  let lookupCount = 0;

  async function refusalOf(host: string): Promise<string | null> {
    lookupCount += 1;
    try {
      await resolve(host);
      return null;
    } catch (error) {
      if (!(error instanceof EgressError)) throw error;
      return error.attemptCode === 'BLOCKED_ADDRESS' ? error.message : null;
    } finally {
      lookupCount -= 1;
    }
  }

  return async (host) => {
    if (lookupCount >= hostChecksMax) return null;
    const refusal = refusalOf(host);
    return (await endsWithin(limitMs, refusal)) ? await refusal : null;
  };
}
