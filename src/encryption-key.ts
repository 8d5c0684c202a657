/** A key that encrypts secrets at rest; its id stands in every ciphertext it made. */
export interface EncryptionKey {
  id: string;
  /** 32 bytes. */
  key: Uint8Array;
}

/** Reads `id:base64,…`, the keys that encrypt secrets at rest; null when it is not that. */
export function parseEncryptionKeys(given: string): readonly EncryptionKey[] | null {
  const keys = given.split(',').map((part) => {
    const [, id = '', base64 = ''] = /^\s*([\w-]{1,32}):([A-Za-z0-9+/]{43}=)\s*$/.exec(part) ?? [];
    return { id, key: new Uint8Array(Buffer.from(base64, 'base64')) };
  });
  const isWhole = keys.every(({ key }) => key.length === 32);
  return isWhole && new Set(keys.map(({ id }) => id)).size === keys.length ? keys : null;
}
