import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import { DatabaseError } from 'pg';
import type { Client } from 'pg';

/** A migration of prisma/migrations. */
export interface Migration {
  /** Its folder, as in `20261123000000_init`. */
  name: string;
  /** The text of its migration.sql. */
  sql: string;
}

/** Any number that nobody else uses on this database. */
const advisoryLock = 7_367_846_610;
/** How long to wait while another process migrates. */
const turnLimitMs = 120_000;
/**
 * How long a migration waits for a table before it lets the others go first: whoever comes after it waits behind it. Long
 * readers, such as a backup, are waited for by trying again.
 */
const tableLockLimitMs = 500;
const pauseMs = 1_000;
const triesMax = 80;
const lockNotAvailable = '55P03';

/** As Prisma 7 makes it, so that its own tools agree. */
const migrationsTableSql = `
create table if not exists _prisma_migrations (
  id varchar(36) primary key not null,
  checksum varchar(64) not null,
  finished_at timestamptz,
  migration_name varchar(255) not null,
  logs text,
  rolled_back_at timestamptz,
  started_at timestamptz not null default now(),
  applied_steps_count integer not null default 0
)`;

/**
 * Applies those of the migrations that the database does not have, in order, and gives their names. Each is one transaction
 * with its entry in `_prisma_migrations`: whatever ends the process, it is there as a whole or not at all. Of many that
 * call it at once, one applies and the others wait. Throws one sentence when a migration fails, another one was begun
 * by other means and not finished, or the turn does not come within two minutes. Holds a lock until the connection ends.
 */
export async function applyMigrations(client: Client, migrations: readonly Migration[]): Promise<string[]> {
  await takeTurn(client);
  await client.query(migrationsTableSql);
  const { rows } = await client.query<{ name: string; finished: boolean }>(
    'select migration_name as name, finished_at is not null as finished from _prisma_migrations where rolled_back_at is null',
  );
  const unfinished = rows.filter(({ finished }) => !finished).map(({ name }) => name);
  if (unfinished.length > 0) {
    throw new Error(
      `The migration ${unfinished.join(', ')} was begun by another tool and has not ended: see its error in _prisma_migrations, undo what it left, delete that row and run \`posthorn migrate\` again.`,
    );
  }
  const applied = new Set(rows.map(({ name }) => name));
  const pending = migrations.filter(({ name }) => !applied.has(name));
  for (const migration of pending) await applyPatiently(client, migration);
  return pending.map(({ name }) => name);
}

async function takeTurn(client: Client): Promise<void> {
  // A role may have limits for statements of its own, which are not meant for this.
  await client.query(`set statement_timeout = 0; set lock_timeout = ${turnLimitMs}`);
  try {
    await client.query('select pg_advisory_lock($1)', [advisoryLock]);
  } catch (error) {
    if (!isLockTimeout(error)) throw error;
    throw new Error(
      `Another process has been migrating this database for more than ${turnLimitMs / 1000} s: wait for it, or end it, and run \`posthorn migrate\` again.`,
      { cause: error },
    );
  }
}

async function applyPatiently(client: Client, migration: Migration): Promise<void> {
  for (let tryNumber = 1; ; tryNumber += 1) {
    try {
      return await applyWhole(client, migration);
    } catch (error) {
      await client.query('rollback').catch(ignoreLost);
      if (isLockTimeout(error) && tryNumber < triesMax) await after(pauseMs);
      else throw failureOf(migration, error);
    }
  }
}

async function applyWhole(client: Client, { name, sql }: Migration): Promise<void> {
  await client.query('begin');
  await client.query(`set local lock_timeout = ${tableLockLimitMs}`);
  await client.query(sql);
  await client.query(
    `insert into _prisma_migrations (id, checksum, migration_name, finished_at, applied_steps_count)
     values ($1, $2, $3, clock_timestamp(), 1)`,
    [randomUUID(), createHash('sha256').update(sql).digest('hex'), name],
  );
  await client.query('commit');
}

function failureOf({ name }: Migration, cause: unknown): Error {
  const reason = cause instanceof Error ? cause.message.replace(/\.$/, '') : String(cause);
  if (!isLockTimeout(cause)) {
    return new Error(`The migration ${name} failed and left nothing behind: ${reason}.`, { cause });
  }
  return new Error(
    `The migration ${name} left nothing behind: others keep a table that it needs. End what holds it (pg_locks and pg_stat_activity say who), and run \`posthorn migrate\` again.`,
    { cause },
  );
}

function isLockTimeout(error: unknown): boolean {
  return error instanceof DatabaseError && error.code === lockNotAvailable;
}

/** A connection that is gone has rolled back by itself. */
function ignoreLost(): void {}
