import { randomUUID } from 'node:crypto';
import { inject } from 'vitest';
import { connectToDatabase } from '../../src/stack/connect.ts';

export interface TestDatabase extends AsyncDisposable {
  url: string;
}

/** Creates a migrated database of its own for one test file or test; disposal drops it, whoever is still connected. */
export function createTestDatabase(): Promise<TestDatabase> {
  return createDatabase(`template ${inject('templateDatabase')}`);
}

/** Creates an empty database, without any migration. */
export function createEmptyDatabase(): Promise<TestDatabase> {
  return createDatabase('');
}

async function createDatabase(clause: string): Promise<TestDatabase> {
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await administer(`create database ${name} ${clause}`);
  const url = new URL(inject('postgresUrl'));
  url.pathname = `/${name}`;
  return { url: url.href, [Symbol.asyncDispose]: () => administer(`drop database if exists ${name} with (force)`) };
}

async function administer(statement: string): Promise<void> {
  const client = await connectToDatabase(inject('postgresUrl'));
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
