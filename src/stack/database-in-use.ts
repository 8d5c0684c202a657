import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { startEmbeddedPostgres } from './embedded-postgres.ts';
import { findLockHolder } from './folder-lock.ts';
import { migrate, requireMigrated } from './migrate.ts';
import { readPidFile } from './postgres-server.ts';
import type { Config } from '../config.ts';

/** A database that a command may use beside whoever runs on it. Disposing stops what was started for the command. */
export interface DatabaseInUse extends AsyncDisposable {
  /** Password included. */
  url: string;
  /** Whether it was started for the command, so that nobody else uses it. */
  ours: boolean;
}

/**
 * The database that the config names: the given one; or the embedded one of a Posthorn that runs on the data folder; or, when
 * none runs, the embedded one started for as long as the command takes. Throws one sentence when it cannot be had.
 */
export async function openDatabaseInUse(config: Config): Promise<DatabaseInUse> {
  if (config.databaseUrl !== null) return notOurs(config.databaseUrl.reveal());
  const url = await findRunningEmbedded(config.dataFolder);
  // Where a lock is held and no server is ready yet or any more, this says so, and by which process.
  if (url !== null) return notOurs(url);
  return { ...(await startEmbeddedPostgres({ dataFolder: config.dataFolder })), ours: true };
}

/** The same, with all its tables: one started for the command is migrated, as at a start; others must be already. */
export async function openMigratedDatabase(config: Config): Promise<DatabaseInUse> {
  await using opening = new AsyncDisposableStack();
  const database = opening.use(await openDatabaseInUse(config));
  if (database.ours) await migrate(database.url);
  else await requireMigrated(database.url);
  const opened = opening.move();
  return { ...database, [Symbol.asyncDispose]: async () => await opened.disposeAsync() };
}

/** Whether the data folder has a database, running or not. */
export async function hasEmbeddedDatabase(dataFolder: string): Promise<boolean> {
  return (await stat(join(dataFolder, 'postgres')).catch(() => null)) !== null;
}

/** As the running process keeps it in its folder: the port in postmaster.pid, the password beside. */
async function findRunningEmbedded(dataFolder: string): Promise<string | null> {
  const folder = resolve(dataFolder);
  if ((await findLockHolder(folder)) === null) return null;
  const lines = await readPidFile(join(folder, 'postgres'));
  const password = await readFile(join(folder, 'postgres-password'), 'utf8').catch(() => null);
  if (lines[7]?.trim() !== 'ready' || password === null) return null;
  return `postgresql://postgres:${password}@127.0.0.1:${lines[3]}/postgres`;
}

function notOurs(url: string): DatabaseInUse {
  return { url, ours: false, [Symbol.asyncDispose]: () => Promise.resolve() };
}
