import { randomBytes } from 'node:crypto';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseEncryptionKeys, type EncryptionKey } from '../encryption-key.ts';

/**
 * Gives the encryption keys that the data folder keeps (`encryption-keys`, mode 0600), made at the first call.
 * Throws when the file cannot be read: new keys would leave every stored secret unreadable.
 */
export async function loadEmbeddedEncryptionKeys(dataFolder: string): Promise<readonly EncryptionKey[]> {
  const file = join(dataFolder, 'encryption-keys');
  const text = (await readFile(file, 'utf8').catch(rethrowUnlessMissing)) ?? (await createKeyFile(file));
  const keys = parseEncryptionKeys(text.trim());
  if (keys === null) throw new Error(`The encryption keys in ${file} cannot be read: restore that file from a backup.`);
  return keys;
}

/** Whole or not at all: a key cut short by a crash would be lost, and with it what it had encrypted. */
async function createKeyFile(file: string): Promise<string> {
  const text = `embedded:${randomBytes(32).toString('base64')}\n`;
  await writeFile(`${file}.new`, text, { mode: 0o600, flush: true });
  await rename(`${file}.new`, file);
  return text;
}

function rethrowUnlessMissing(error: unknown): null {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
  throw error;
}
