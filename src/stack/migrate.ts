import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Client } from 'pg';
import { applyMigrations, type Migration } from './apply-migrations.ts';
import { connectToDatabase } from './connect.ts';

const prismaFolder = join(import.meta.dirname, '..', '..', 'prisma');

/**
 * Applies the migrations that the database does not have yet, recorded in `_prisma_migrations` so that
 * `prisma migrate deploy` agrees. Gives the names applied, in order; empty when it was up to date.
 * Many processes may call it at once: one applies, the others wait for it. Throws one clear sentence when the database
 * cannot be reached or a migration fails.
 */
export async function migrate(databaseUrl: string): Promise<string[]> {
  const names = await listMigrations();
  const client = await connectToDatabase(databaseUrl);
  try {
    // At nearly every start there is nothing to do, and nobody to wait for.
    if (isComplete(names, await listApplied(client))) return [];
    return await applyMigrations(client, await readMigrations());
  } finally {
    await client.end();
  }
}

/** The migrations of this version, in order. */
export async function readMigrations(): Promise<Migration[]> {
  return await Promise.all((await listMigrations()).map(readMigration));
}

async function readMigration(name: string): Promise<Migration> {
  return { name, sql: await readFile(join(prismaFolder, 'migrations', name, 'migration.sql'), 'utf8') };
}

/** Throws one sentence when the database lacks a migration, so that a part started alone says what it needs. */
export async function requireMigrated(databaseUrl: string): Promise<void> {
  const names = await listMigrations();
  const client = await connectToDatabase(databaseUrl);
  try {
    if (isComplete(names, await listApplied(client))) return;
    throw new Error(`The database ${client.database} is not up to date: run \`posthorn migrate\` first.`);
  } finally {
    await client.end();
  }
}

/** How the migrations of a database and those of this version differ, by name and in order. */
export interface MigrationState {
  /** Of this version, not applied. */
  pending: string[];
  /** Begun and neither finished nor rolled back. */
  unfinished: string[];
  /** Applied and not of this version: a newer one has been here. */
  unknown: string[];
}

/** Compares the migrations of the database with those of this version. */
export async function loadMigrationState(client: Client): Promise<MigrationState> {
  const names = await listMigrations();
  const applied = await listApplied(client);
  const pending = names.filter((name) => !applied.has(name));
  const unknown = [...applied].filter((name) => !names.includes(name)).sort();
  return { pending, unknown, unfinished: await listUnfinished(client) };
}

async function listUnfinished(client: Client): Promise<string[]> {
  if (!(await hasMigrationsTable(client))) return [];
  const { rows } = await client.query<{ name: string }>(
    'select migration_name as name from _prisma_migrations where finished_at is null and rolled_back_at is null order by 1',
  );
  return rows.map((row) => row.name);
}

function isComplete(names: readonly string[], applied: ReadonlySet<string>): boolean {
  return names.every((name) => applied.has(name));
}

async function listMigrations(): Promise<string[]> {
  const entries = await readdir(join(prismaFolder, 'migrations'), { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .sort();
}

async function listApplied(client: Client): Promise<ReadonlySet<string>> {
  if (!(await hasMigrationsTable(client))) return new Set();
  const { rows } = await client.query<{ name: string }>(
    'select migration_name as name from _prisma_migrations where finished_at is not null and rolled_back_at is null',
  );
  return new Set(rows.map((row) => row.name));
}

async function hasMigrationsTable(client: Client): Promise<boolean> {
  const { rows } = await client.query<{ name: string | null }>(
    `select to_regclass('_prisma_migrations')::text as name`,
  );
  return rows[0]?.name !== null;
}
