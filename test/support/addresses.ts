import type { LookupAddress } from 'node:dns';

/** The addresses as a lookup answers with them. */
export function addressesOf(texts: readonly string[]): LookupAddress[] {
  return texts.map((address) => ({ address, family: address.includes(':') ? 6 : 4 }));
}
