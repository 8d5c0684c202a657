import type { LookupAddress } from 'node:dns';
import { lookup as systemLookup, Resolver } from 'node:dns/promises';
import { codeOf } from './egress-error.ts';

/** Gives every address of a host name; rejects when there is none. */
export type Lookup = (host: string) => Promise<readonly LookupAddress[]>;

/**
 * Creates the lookup that asks the name servers (`address` or `address:port`; the system's when left out), and the
 * system's resolver only for names that they do not know (those of the hosts file). getaddrinfo alone would do, but it
 * holds one of the process's four pool threads until the name servers answer: four customers' dead names would stop
 * every lookup.
 */
export function createLookup(servers: readonly string[] = []): Lookup {
  const resolver = new Resolver({ timeout: 1000, tries: 2 });
  if (servers.length > 0) resolver.setServers(servers);

  return async (host) => {
    const answers = await Promise.allSettled([resolver.resolve4(host), resolver.resolve6(host)]);
    const addresses = answers.flatMap((answer, index) =>
      answer.status === 'fulfilled' ? answer.value.map((address) => ({ address, family: index === 0 ? 4 : 6 })) : [],
    );
    if (addresses.length > 0) return addresses;
    const failures = answers.flatMap((answer) => (answer.status === 'rejected' ? [answer.reason] : []));
    const slow = failures.find((failure) => codeOf(failure) === 'ETIMEOUT');
    if (slow !== undefined) throw slow;
    return await systemLookup(host, { all: true });
  };
}
