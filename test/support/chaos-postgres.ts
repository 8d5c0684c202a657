import { randomBytes } from 'node:crypto';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadPostgresAccount } from '../../src/stack/postgres-account.ts';
import type { PostgresAccount } from '../../src/stack/postgres-account.ts';
import { initialiseCluster, postgresProgramsFolder, readPidFile } from '../../src/stack/postgres-server.ts';
import { findSteadyPort } from './chaos-ports.ts';
import { untilFound } from './e2e-client.ts';

/** How a server ends: `fast` breaks its connections and writes a checkpoint, `immediate` is a crash. */
export type RestartMode = 'fast' | 'immediate';

/** A Postgres of a run's own that comes back at the same place. */
export interface ChaosPostgres extends AsyncDisposable {
  url: string;
  pid: () => number;
  /** Stops and starts it, as `pg_ctl restart -m <mode>` does. Resolves when it takes connections. */
  restart: (mode: RestartMode) => Promise<void>;
}

const readyLimitMs = 60_000;
/** Outlives a crash of the server, not of the machine: what is committed has left the server. */
const settings = { max_connections: '300', fsync: 'off', full_page_writes: 'off', listen_addresses: '127.0.0.1' };

interface Cluster {
  account: PostgresAccount;
  folder: string;
  logFile: string;
  port: number;
}

/** Makes a cluster in a temporary folder and starts its server. */
export async function startChaosPostgres(): Promise<ChaosPostgres> {
  await using starting = new AsyncDisposableStack();
  const home = await mkdtemp(join(tmpdir(), 'posthorn-chaos-'));
  starting.defer(async () => await rm(home, { recursive: true, force: true, maxRetries: 5 }));
  const password = randomBytes(24).toString('base64url');
  const cluster = await makeCluster(home, password);
  let server = await startServer(cluster);
  const stopOnExit = (): void => void server.kill('SIGQUIT');
  process.once('exit', stopOnExit);
  starting.defer(async () => {
    process.off('exit', stopOnExit);
    await stopServer(server, 'immediate');
  });
  const started = starting.move();
  return {
    url: `postgresql://postgres:${password}@127.0.0.1:${cluster.port}/postgres`,
    pid: () => server.pid ?? 0,
    restart: async (mode) => {
      await stopServer(server, mode);
      server = await startServer(cluster);
    },
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

async function makeCluster(home: string, password: string): Promise<Cluster> {
  await chmod(home, 0o711); // the user postgres, whom root runs it as, must get through
  const account = await loadPostgresAccount([postgresProgramsFolder(), home]);
  const folder = join(home, 'cluster');
  const passwordFile = join(home, 'password');
  await mkdir(folder, { mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  await account.own(folder);
  await account.own(passwordFile);
  await initialiseCluster(account, folder, passwordFile);
  return { account, folder, logFile: join(home, 'postgres.log'), port: await findSteadyPort() };
}

async function startServer({ account, folder, logFile, port }: Cluster): Promise<ChildProcess> {
  const all = { ...settings, port: String(port), unix_socket_directories: '' };
  const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const program = join(postgresProgramsFolder(), 'postgres');
  const { file, args, ...ids } = account.command(program, ['-D', folder, ...flags], 'INT');
  const log = await open(logFile, 'a', 0o600);
  const server = spawn(file, args, { ...ids, cwd: '/', stdio: ['ignore', log.fd, log.fd] });
  await log.close();
  const look = async (): Promise<true | null> => {
    if (server.exitCode !== null) throw new Error(`Postgres did not start:\n${await readFile(logFile, 'utf8')}`);
    const lines = await readPidFile(folder);
    return Number(lines[0]) === server.pid && lines[7]?.trim() === 'ready' ? true : null;
  };
  await untilFound('Postgres to take connections', look, readyLimitMs);
  return server;
}

async function stopServer(server: ChildProcess, mode: RestartMode): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const ended = once(server, 'exit', { signal: AbortSignal.timeout(readyLimitMs) });
  server.kill(mode === 'fast' ? 'SIGINT' : 'SIGQUIT');
  await ended;
}
