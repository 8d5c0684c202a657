import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';

// The SQL of the release before, as it was sent: what a process of it goes on sending while a newer database is under it.
// `npm run release:statements` writes the file when a release is made; nothing else changes it.

const statement = z.object({
  /** As which it was prepared; null for none. */
  name: z.string().nullable(),
  text: z.string(),
  /** As they were sent once; `{ base64 }` for bytes. */
  values: z.array(z.unknown()),
});

const released = z.object({
  /** What the release's database had. */
  migrations: z.array(z.string()),
  /** Makes a project, its key and a webhook that takes `release.*`, in this order. */
  setup: z.array(statement),
  /** Every other text that was seen, once. */
  statements: z.array(statement),
});

/** One statement with values that fit it. */
export type ReleasedStatement = z.output<typeof statement>;

/** All of them. */
export type ReleasedStatements = z.output<typeof released>;

/** Where they are kept. */
export const releasedStatementsFile = path.join(import.meta.dirname, 'released-statements.json');

/** Reads what is kept. */
export async function readReleasedStatements(): Promise<ReleasedStatements> {
  return released.parse(JSON.parse(await readFile(releasedStatementsFile, 'utf8')));
}

/** A value as JSON can keep it. */
export function keptValue(value: unknown): unknown {
  return value instanceof Uint8Array ? { base64: Buffer.from(value).toString('base64') } : value;
}

/** A kept value as it is sent. */
export function sentValue(value: unknown): unknown {
  const bytes = z.object({ base64: z.string() }).safeParse(value);
  return bytes.success ? Buffer.from(bytes.data.base64, 'base64') : value;
}
