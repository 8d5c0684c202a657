import type { LookupAddress } from 'node:dns';
import type { Cidr } from '../src/domain/address-policy.ts';
import { isAddress, isForbiddenAddress } from '../src/domain/address-policy.ts';
import { blockedMessage, isLocalhost } from '../src/domain/webhook-url.ts';
import { codeOf, EgressError } from './egress-error.ts';
import { createLookup, type Lookup } from './egress-lookup.ts';

/**
 * Gives the addresses of a host (a name, or an address itself), none of them forbidden. Rejects with an EgressError:
 * `DNS` when the name has no address, `BLOCKED_ADDRESS` when any of its addresses is forbidden, since whoever mixes
 * public and private answers is counting on the one that is picked. Calls for the same name share one lookup at a time.
 */
export function createAddressResolver(allowed: readonly Cidr[], lookup: Lookup = createLookup()): Lookup {
  const running = new Map<string, Promise<readonly LookupAddress[]>>();

  async function resolveName(host: string): Promise<readonly LookupAddress[]> {
    try {
      return checked(host, await lookup(host), allowed);
    } catch (error) {
      if (error instanceof EgressError) throw error;
      throw new EgressError('DNS', `The name ${host} could not be resolved (${reasonOf(error)}).`, { cause: error });
    }
  }

  function share(host: string): Promise<readonly LookupAddress[]> {
    const shared = resolveName(host).finally(() => running.delete(host));
    running.set(host, shared);
    return shared;
  }

  return async (host) => {
    const fixed = fixedAddresses(host, allowed);
    if (fixed !== null) return checked(host, fixed, allowed);
    return await (running.get(host) ?? share(host));
  };
}

/** Addresses that need no lookup: those of this machine, as far as they are allowed, and a host that is an address. */
function fixedAddresses(host: string, allowed: readonly Cidr[]): LookupAddress[] | null {
  if (isLocalhost(host)) {
    const open = loopback.filter(({ address }) => !isForbiddenAddress(address, allowed));
    return open.length > 0 ? open : loopback;
  }
  return isAddress(host) ? [{ address: host, family: host.includes(':') ? 6 : 4 }] : null;
}

const loopback: LookupAddress[] = [
  { address: '127.0.0.1', family: 4 },
  { address: '::1', family: 6 },
];

function checked(
  host: string,
  addresses: readonly LookupAddress[],
  allowed: readonly Cidr[],
): readonly LookupAddress[] {
  if (addresses.length === 0) throw new EgressError('DNS', `The name ${host} has no address.`);
  if (addresses.some(({ address }) => isForbiddenAddress(address, allowed))) {
    throw new EgressError('BLOCKED_ADDRESS', blockedMessage(host));
  }
  return addresses;
}

/** The resolver's own word for a failure, `ENOTFOUND` and the like, which holds no name or address. */
function reasonOf(error: unknown): string {
  const code = codeOf(error);
  return code === '' ? 'no answer' : code;
}
