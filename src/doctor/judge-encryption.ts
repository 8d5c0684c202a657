import { isAddress, isForbiddenAddress } from '../domain/address-policy.ts';
import type { Finding } from '../finding.ts';

const privateName = /(^[^.]+|\.(internal|local|localdomain|home\.arpa))\.?$/i;

/** Judges a connection by whether it is encrypted, or at least stays on a private network as far as its host tells. */
export function judgeEncryption(check: string, host: string, isEncrypted: boolean, remedy: string): Finding {
  if (isEncrypted) return { check, status: 'ok', message: `The connection to ${host} is encrypted.`, remedy: null };
  if (isPrivate(host)) {
    const message = `The connection to ${host} is not encrypted and does not leave a private network.`;
    return { check, status: 'ok', message, remedy: null };
  }
  const message = `The connection to ${host} is not encrypted: whoever is between reads passwords and payloads.`;
  return { check, status: 'warning', message, remedy };
}

/** A folder is a socket of this machine; a name of one word is one that only a private network knows. */
function isPrivate(given: string): boolean {
  const host = given.replace(/^\[(.*)\]$/, '$1');
  if (isAddress(host)) return isForbiddenAddress(host);
  return host.startsWith('/') || privateName.test(host);
}
