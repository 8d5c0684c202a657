import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { tmpdir } from 'node:os';
import type { ChildProcess } from 'node:child_process';

const repository = path.resolve(import.meta.dirname, '../..');
const readyLimitMs = 60_000;
/** Spares each of many starts a third of its time. Node tells a stale entry by itself. */
const compileCache = path.join(tmpdir(), 'posthorn-test-compile-cache');

/** A running `posthorn start`, as a user runs it: a process of its own, known by its output and its `demo.json`. */
export interface Posthorn extends AsyncDisposable {
  graphqlUrl: string;
  websocketUrl: string;
  apiKey: string;
  projectId: string;
  dataFolder: string;
  pid: number;
  /** Everything printed so far, both streams. */
  output: () => string;
  /** Sends the signal and resolves with how the process ended. */
  end: (signal: 'SIGINT' | 'SIGTERM' | 'SIGKILL') => Promise<{ code: number | null; signal: string | null }>;
}

export interface PosthornOptions {
  /** Added to the environment. */
  env?: Record<string, string>;
  /** An existing data folder; without it a new one is made, and removed at the end. */
  dataFolder?: string;
}

/** Makes a data folder that is removed on disposal. */
export async function createDataFolder(): Promise<{ path: string } & AsyncDisposable> {
  const folder = await mkdtemp(path.join(tmpdir(), 'posthorn-e2e-'));
  return {
    path: folder,
    [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true, force: true, maxRetries: 5 }),
  };
}

/** A command as a process of its own. */
export interface RunningCommand {
  process: ChildProcess;
  /** Everything printed so far, both streams. */
  output: () => string;
  ended: Promise<{ code: number | null; signal: string | null }>;
}

/** Runs a command of `src/main.ts`, with Node's options as `npm start` has them, and gives the process with its output as it grows. */
export function runPosthorn(args: readonly string[], env: Record<string, string>): RunningCommand {
  const { PATH = '', HOME = '', TMPDIR = '' } = process.env;
  const child = spawn(process.execPath, ['--max-semi-space-size=16', 'src/main.ts', ...args], {
    cwd: repository,
    env: { PATH, HOME, NODE_COMPILE_CACHE: compileCache, ...(TMPDIR === '' ? {} : { TMPDIR }), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal }));
  return { process: child, output: () => output, ended };
}

/** Starts Posthorn on a free port and waits until it says that it is ready. Throws with its output when it does not. */
export async function startPosthorn(options: PosthornOptions = {}): Promise<Posthorn> {
  await using starting = new AsyncDisposableStack();
  const dataFolder = options.dataFolder ?? starting.use(await createDataFolder()).path;
  const running = runPosthorn(['start'], { PORT: '0', POSTHORN_DATA: dataFolder, ...options.env });
  const child = running.process;
  const end: Posthorn['end'] = async (signal) => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    return await running.ended;
  };
  starting.defer(async () => void (await end('SIGTERM')));
  await untilReady(running);
  const facts = JSON.parse(await readFile(path.join(dataFolder, 'demo.json'), 'utf8')) as {
    graphqlUrl: string;
    websocketUrl: string;
    apiKey: string;
    projectId: string;
  };
  const owned = starting.move();
  return {
    ...facts,
    dataFolder,
    pid: child.pid ?? 0,
    output: running.output,
    end,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

/** Waits until the process says that it is ready; kills it and throws with its output when it does not. */
export async function untilReady({ process: child, output }: RunningCommand): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const limit = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`posthorn was not ready within ${readyLimitMs} ms:\n${output()}`));
    }, readyLimitMs);
    const look = (): void => {
      if (!output().includes('Posthorn is ready')) return;
      clearTimeout(limit);
      child.stdout?.off('data', look);
      resolve();
    };
    child.stdout?.on('data', look);
    child.once('close', (code) => {
      clearTimeout(limit);
      reject(new Error(`posthorn ended with ${code} before it was ready:\n${output()}`));
    });
    look();
  });
}
