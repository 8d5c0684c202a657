import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';

/** Encrypts what must not lie in the database in clear text. */
export interface SecretBox {
  encrypt(text: string): string;
  /** Throws when no known key fits or the ciphertext was altered. Recent answers are cached. */
  decrypt(ciphertext: string): string;
}

/** A key with the name that ciphertexts know it by. */
export interface SecretBoxKey {
  /** Letters, digits, `-` and `_`, at most 32. Never given to another key. */
  id: string;
  /** 32 bytes. */
  key: Uint8Array;
}

const version = 'v1';
const algorithm = 'aes-256-gcm';
const ivBytes = 12;
const tagBytes = 16;

/** Every dispatch decrypts; this many recent texts are answered from memory. */
const cachedTextsMax = 10_000;

/**
 * Makes a secret box of the keys: the first encrypts, all of them decrypt, so that a new key goes in front of the old
 * ones. A ciphertext is `v1.<key id>.<base64url of IV, encrypted text and tag>`; version and key id are authenticated.
 * Throws a RangeError when there is no key, a key is not 32 bytes, or an id is malformed or given twice.
 * Source: NIST SP 800-38D (a random 96-bit IV per text).
 */
export function createSecretBox(keys: readonly SecretBoxKey[]): SecretBox {
  const keyById = parseKeys(keys);
  const current = keyById.entries().next().value;
  if (current === undefined) throw new RangeError('an encryption key is needed');
  const [currentId, currentKey] = current;
  const recent = new Map<string, string>();

  return {
    encrypt: (text) => seal(`${version}.${currentId}`, currentKey, text),
    decrypt(ciphertext) {
      const text = recent.get(ciphertext) ?? open(keyById, ciphertext);
      // A Map iterates in insertion order: put last what was used last, drop the first.
      recent.delete(ciphertext);
      recent.set(ciphertext, text);
      if (recent.size > cachedTextsMax) recent.delete(recent.keys().next().value ?? ciphertext);
      return text;
    },
  };
}

function parseKeys(keys: readonly SecretBoxKey[]): Map<string, KeyObject> {
  const keyById = new Map<string, KeyObject>();
  for (const { id, key } of keys) {
    if (!/^[\w-]{1,32}$/.test(id)) throw new RangeError(`not an encryption key id: ${JSON.stringify(id)}`);
    if (keyById.has(id)) throw new RangeError(`encryption key id ${id} is given twice`);
    if (key.length !== 32) throw new RangeError(`encryption key ${id} has ${key.length} bytes, not 32`);
    keyById.set(id, createSecretKey(key));
  }
  return keyById;
}

function seal(head: string, key: KeyObject, text: string): string {
  const iv = randomBytes(ivBytes);
  const cipher = createCipheriv(algorithm, key, iv, { authTagLength: tagBytes }).setAAD(Buffer.from(head));
  const sealed = Buffer.concat([iv, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
  return `${head}.${sealed.toString('base64url')}`;
}

function open(keyById: ReadonlyMap<string, KeyObject>, ciphertext: string): string {
  const match = /^(v1\.([\w-]{1,32}))\.([\w-]+)$/.exec(ciphertext);
  const [, head = '', keyId = '', encoded = ''] = match ?? [];
  const key = keyById.get(keyId);
  const sealed = Buffer.from(encoded, 'base64url');
  // base64 readers forgive spare bits and characters; an altered text is an altered text.
  const isWhole = sealed.length >= ivBytes + tagBytes && sealed.toString('base64url') === encoded;
  if (key === undefined || !isWhole) throw cannotDecrypt();
  try {
    const iv = sealed.subarray(0, ivBytes);
    const decipher = createDecipheriv(algorithm, key, iv, { authTagLength: tagBytes })
      .setAAD(Buffer.from(head))
      .setAuthTag(sealed.subarray(-tagBytes));
    return decipher.update(sealed.subarray(ivBytes, -tagBytes), undefined, 'utf8') + decipher.final('utf8');
  } catch {
    // The cause would tell how far a forged text got.
    throw cannotDecrypt();
  }
}

function cannotDecrypt(): Error {
  return new Error('a ciphertext cannot be decrypted: its key is not configured, or it was altered');
}
