import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { loadPostgresAccount } from '../../src/stack/postgres-account.ts';
import { initialiseCluster, postgresProgramsFolder } from '../../src/stack/postgres-server.ts';
import { untilFound } from './e2e-client.ts';
import { findSteadyPort } from './steady-port.ts';

// A Postgres of the test's own, on one port for all its lives, to be stopped, killed, paused and started again.

/** `fast`: sessions are told and ended. `immediate`: nobody is told, and the next start recovers. `kill`: SIGKILL. */
export type PostgresEnd = 'fast' | 'immediate' | 'kill';

export interface MortalPostgres extends AsyncDisposable {
  url: string;
  /** Ends the server; resolves when it is gone. */
  end(how: PostgresEnd): Promise<void>;
  /** Starts it anew on the same port; resolves when it takes connections. `settings` are for this life. */
  start(settings?: Readonly<Record<string, string>>): Promise<void>;
  /** Freezes every process of it, so that it is there and says nothing; `resume` lets them go on. */
  pause(): Promise<void>;
  resume(): Promise<void>;
}

const signals = { fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' } as const;
const startLimitMs = 60_000;
const settings = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  shared_buffers: '32MB',
  jit: 'off',
  // Committed is what a killed process has handed to the kernel, which stays: only a power cut would need the disk.
  fsync: 'off',
};

/** Makes a cluster and starts it. `own` are its settings in all its lives. */
export async function startMortalPostgres(own: Readonly<Record<string, string>> = {}): Promise<MortalPostgres> {
  await using starting = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'posthorn-mortal-'));
  starting.defer(async () => await rm(folder, { recursive: true, force: true, maxRetries: 5 }));
  await chmod(folder, 0o711);
  const account = await loadPostgresAccount([postgresProgramsFolder(), folder]);
  const [data, passwordFile] = [join(folder, 'data'), join(folder, 'password')];
  const password = randomBytes(12).toString('hex');
  await mkdir(data, { mode: 0o700 });
  await writeFile(passwordFile, password, { mode: 0o600 });
  for (const path of [data, passwordFile]) await account.own(path);
  await initialiseCluster(account, data, passwordFile);
  const port = await findSteadyPort();
  const url = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;
  let server: ChildProcess | null = null;

  const start: MortalPostgres['start'] = async (others = {}) => {
    const all = { ...settings, port: String(port), ...own, ...others };
    const flags = Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    const program = join(postgresProgramsFolder(), 'postgres');
    const { file, args, ...ids } = account.command(program, ['-D', data, ...flags], 'KILL');
    const started = spawn(file, args, { ...ids, cwd: '/', stdio: 'ignore' });
    server = started;
    const look = async (): Promise<true | null> => {
      if (started.exitCode !== null) throw new Error(`the test’s own Postgres ended with code ${started.exitCode}`);
      return await answers(url);
    };
    await untilFound('the test’s own Postgres to start', look, startLimitMs);
  };
  const end: MortalPostgres['end'] = async (how) => {
    if (server === null || server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, 'exit');
    const backends = await childrenOf(server.pid);
    server.kill('SIGCONT');
    server.kill(signals[how]);
    await ended;
    // Orphaned backends see that their server is gone when they next look; a new one does not start before.
    if (how === 'kill') for (const pid of backends) signal(pid, 'SIGKILL');
  };
  const signalAll = async (name: 'SIGSTOP' | 'SIGCONT'): Promise<void> => {
    const pid = server?.pid;
    if (pid === undefined) return;
    signal(pid, name); // the parent first, so that it makes no more children
    for (const child of await childrenOf(pid)) signal(child, name);
  };
  starting.defer(async () => {
    await signalAll('SIGCONT');
    await end('kill');
  });
  await start();
  const owned = starting.move();
  return {
    url,
    start,
    end,
    pause: async () => await signalAll('SIGSTOP'),
    resume: async () => await signalAll('SIGCONT'),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

async function answers(url: string): Promise<true | null> {
  const client = await connectToDatabase(url).catch(() => null);
  if (client === null) return null;
  await client.end();
  return true;
}

async function childrenOf(pid: number | undefined): Promise<number[]> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
  return text.split(' ').filter(Boolean).map(Number);
}

/** A process that has ended meanwhile needs no signal. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
