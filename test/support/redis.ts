import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requireProgram } from './program.ts';
import { findSteadyPort } from './steady-port.ts';

// A real redis-server on loopback for tests: empty, without persistence, gone with its disposal.

/** Limit for the server to answer. */
const startLimitMs = 10_000;

export interface TestRedis extends AsyncDisposable {
  url: string;
  port: number;
  /** Kills the server as a crash does (SIGKILL); resolves when it is gone. */
  kill(): Promise<void>;
  /** Stops the server as a machine that freezes does (SIGSTOP): its connections stay and say nothing. */
  freeze(): void;
  /** Lets it go on (SIGCONT). */
  thaw(): void;
}

export interface TestRedisOptions {
  /** Default: a free one. */
  port?: number;
  /** Where the server reads and writes its snapshot; kept afterwards. Default: a temporary one, removed afterwards. */
  directory?: string;
  /** Settings that differ, by name. */
  settings?: Readonly<Record<string, string>>;
}

/** Starts a server; installs redis-server first when it is missing and may be installed. */
export async function startTestRedis(options: TestRedisOptions = {}): Promise<TestRedis> {
  const command = await requireProgram('redis-server');
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'posthorn-redis-')));
  const port = options.port ?? (await findSteadyPort());
  const server = await startServer(command, port, directory, options.settings ?? {});
  const kill = async (): Promise<void> => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill('SIGKILL');
    await exited;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    port,
    kill,
    freeze: () => void server.kill('SIGSTOP'),
    thaw: () => void server.kill('SIGCONT'),
    [Symbol.asyncDispose]: async () => {
      await kill();
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true });
    },
  };
}

async function startServer(
  command: string,
  port: number,
  directory: string,
  others: Readonly<Record<string, string>>,
): Promise<ChildProcess> {
  const settings = [
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    directory,
    '--save',
    '',
    '--appendonly',
    'no',
    ...Object.entries(others).flatMap(([name, value]) => [`--${name}`, value]),
  ];
  const server = spawn(command, settings, { stdio: ['ignore', 'pipe', 'inherit'] });
  const killWithUs = (): void => void server.kill('SIGKILL');
  process.once('exit', killWithUs);
  server.once('exit', () => process.off('exit', killWithUs));
  let output = '';
  await new Promise<void>((resolve, reject) => {
    const fail = (reason: string): void => reject(new Error(`redis-server ${reason}:\n${output}`));
    const limit = setTimeout(() => {
      server.kill('SIGKILL');
      fail(`was not ready within ${startLimitMs} ms`);
    }, startLimitMs);
    server.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      if (!limit.hasRef()) return; // ready: the rest is only drained
      output += chunk;
      if (!output.includes('Ready to accept connections')) return;
      limit.unref();
      clearTimeout(limit);
      resolve();
    });
    server.once('exit', (code) => {
      clearTimeout(limit);
      fail(`ended with code ${code}`);
    });
    server.once('error', (error) => fail(error.message));
  });
  return server;
}
