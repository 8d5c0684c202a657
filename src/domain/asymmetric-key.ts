import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';

const privatePrefix = 'whsk_';
const publicPrefix = 'whpk_';
const seedBytes = 32;

/** What stands before the seed in the PKCS #8 form, which unlike JWK does without the public key. Source: RFC 8410 §7. */
const pkcs8Head = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * The text of an ed25519 private key: `whsk_` and the base64 of its 32-byte seed, as the reference libraries read it.
 * Source: Standard Webhooks, "Signature scheme"; RFC 8032 §5.1.5.
 */
export function privateKeyText(seed: Uint8Array): string {
  return privatePrefix + Buffer.from(seed).toString('base64');
}

/**
 * The key behind a private key's text, ready to sign. Takes 170 µs, longer than a signature: to be made once per
 * load, not per request. Throws a RangeError (without the key) when the text is not one.
 */
export function parsePrivateKey(text: string): KeyObject {
  const seed = Buffer.from(text.slice(privatePrefix.length), 'base64');
  if (!text.startsWith(privatePrefix) || seed.length !== seedBytes) throw new RangeError('not a whsk_ private key');
  return createPrivateKey({ key: Buffer.concat([pkcs8Head, seed]), format: 'der', type: 'pkcs8' });
}

/** The text of the public key that belongs to an ed25519 key: `whpk_` and the base64 of its 32 bytes. */
export function publicKeyText(key: KeyObject): string {
  const { x = '' } = createPublicKey(key).export({ format: 'jwk' });
  return publicPrefix + Buffer.from(x, 'base64url').toString('base64');
}
