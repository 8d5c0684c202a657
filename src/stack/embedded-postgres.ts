import { randomBytes } from 'node:crypto';
import { chmod, mkdir, readFile, readdir, readlink, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { isAlive, lockFolder } from './folder-lock.ts';
import { loadPostgresAccount, type PostgresAccount } from './postgres-account.ts';
import { initialiseCluster, postgresProgramsFolder, readPidFile, startPostgresServer } from './postgres-server.ts';

export interface EmbeddedPostgresOptions {
  /** Everything is kept in here; made when missing. */
  dataFolder: string;
  /** Postgres settings that differ from the embedded default, by name. */
  settings?: Readonly<Record<string, string>>;
}

export interface EmbeddedPostgres extends AsyncDisposable {
  /** Connection URL of the database `postgres`, password included. */
  url: string;
}

const defaultSettings = {
  max_connections: '100',
  shared_buffers: '64MB',
  max_wal_size: '512MB',
  logging_collector: 'off',
  log_checkpoints: 'off',
  log_timezone: 'UTC',
  timezone: 'UTC',
  jit: 'off',
};
const logBytesMax = 8 * 1024 * 1024;
const logCheckEveryMs = 60_000;
/** More than any system gives. */
const pidOfNobody = 2_147_483_646;

/**
 * Starts a PostgreSQL of its own in the data folder, for this process alone, reachable on 127.0.0.1 only; the first start
 * initialises it. A server that a killed process left behind is stopped first, and Postgres recovers what it had committed.
 * Disposing it stops the server. Throws when the folder is another process's, or Postgres cannot run there.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const dataFolder = resolve(options.dataFolder);
  await using stack = new AsyncDisposableStack();
  stack.use(await lockFolder(dataFolder));
  // Its files are private each; user postgres must get through to its own when root runs this.
  await chmod(dataFolder, 0o711);
  const account = await loadPostgresAccount([postgresProgramsFolder(), dataFolder]);
  const password = await loadPassword(dataFolder);
  const folder = join(dataFolder, 'postgres');
  await initialiseOnce(account, dataFolder, folder, password);
  await clearOrphan(account, folder);
  const logFile = join(dataFolder, 'postgres.log');
  await boundLog(logFile);
  const settings = { ...defaultSettings, ...options.settings };
  const server = stack.use(await startPostgresServer({ account, folder, logFile, settings }));
  const timer = setInterval(() => void boundLog(logFile), logCheckEveryMs).unref();
  stack.defer(() => clearInterval(timer));
  const started = stack.move();
  return {
    url: `postgresql://postgres:${password}@127.0.0.1:${server.port}/postgres`,
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  };
}

async function loadPassword(dataFolder: string): Promise<string> {
  const file = join(dataFolder, 'postgres-password');
  try {
    // Whole or not at all: a file cut short by a crash would lock us out of the cluster made with it.
    await stat(file).catch(async () => {
      await writeFile(`${file}.new`, randomBytes(24).toString('base64url'), { mode: 0o600, flush: true });
      await rename(`${file}.new`, file);
    });
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new Error(`The password of the embedded Postgres cannot be read from ${file}.`, { cause: error });
  }
}

/** Makes the cluster beside its place and moves it there when it is whole, so that a kill in between leaves nothing half done. */
async function initialiseOnce(
  account: PostgresAccount,
  dataFolder: string,
  folder: string,
  password: string,
): Promise<void> {
  for (const name of await readdir(dataFolder)) {
    if (name.startsWith('postgres-new-')) await rm(join(dataFolder, name), { recursive: true, force: true });
  }
  if (await stat(folder).catch(() => null)) return;
  const newFolder = join(dataFolder, `postgres-new-${process.pid}`);
  const passwordFile = `${newFolder}.password`;
  await mkdir(newFolder, { mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  await account.own(newFolder);
  await account.own(passwordFile);
  await initialiseCluster(account, newFolder, passwordFile);
  await rm(passwordFile);
  await rename(newFolder, folder);
}

/** Leaves no server of an earlier start on this folder, and no process id that would keep a new one from starting. */
async function clearOrphan(account: PostgresAccount, folder: string): Promise<void> {
  const [pidLine = '', ...lines] = await readPidFile(folder);
  const pid = Number(pidLine);
  if (!(pid > 0)) return;
  if (isAlive(pid) && (await isServerOf(pid, folder))) await stopOrphan(pid, folder);
  if ((await readPidFile(folder)).length === 0) return;
  // Postgres takes any process with this id for a server: one that the id went to since, or one that has ended and still
  // is in the table. The other lines stay: by them it finds what a killed server's backends still hold.
  const file = join(folder, 'postmaster.pid');
  await writeFile(`${file}.new`, [pidOfNobody, ...lines].join('\n'), { mode: 0o600 });
  await account.own(`${file}.new`);
  await rename(`${file}.new`, file);
}

/** Ends a server that a killed process left running: fast first, then without a checkpoint. */
async function stopOrphan(pid: number, folder: string): Promise<void> {
  for (const [signal, limitMs] of [
    ['SIGINT', 15_000],
    ['SIGQUIT', 10_000],
  ] as const) {
    process.kill(pid, signal);
    const deadline = performance.now() + limitMs;
    while (performance.now() < deadline) {
      if (!isAlive(pid)) return;
      await wait(10);
    }
  }
  throw new Error(`A Postgres of an earlier start (process ${pid}) still uses ${folder} and does not end.`);
}

/** A server's working directory is its data folder; where /proc is missing, its command line names it. */
async function isServerOf(pid: number, folder: string): Promise<boolean> {
  if (process.platform === 'linux') return (await readlink(`/proc/${pid}/cwd`).catch(() => '')) === folder;
  const { stdout } = await promisify(execFile)('ps', ['-ww', '-o', 'command=', '-p', String(pid)]);
  return stdout.includes('postgres') && stdout.includes(folder);
}

/** Empties the log when it has grown too long. Postgres appends, so that it goes on at the new end. */
async function boundLog(file: string): Promise<void> {
  try {
    if ((await stat(file)).size > logBytesMax) await truncate(file);
  } catch {
    // There is none before the first start, and a log that cannot be cut must not stop deliveries.
  }
}
