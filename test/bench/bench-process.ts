import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { ChildProcess } from 'node:child_process';

/** A process of the benchmark: it answers what it is told. Killed with its disposal, which waits until it is gone. */
export interface BenchProcess extends AsyncDisposable {
  pid: number;
  tell: (message: { kind: string }) => void;
  /** The next message of that kind. Rejects when the process ends first or does not say it within the limit. */
  hear: <Message extends { kind: string }>(kind: Message['kind'], limitMs?: number) => Promise<Message>;
}

/** Starts a file of this folder as a process of its own, with its own event loop and no settings but the given ones. */
export function startBenchProcess(file: string, env: Record<string, string> = {}): BenchProcess {
  const { PATH = '', HOME = '', TMPDIR = '' } = process.env;
  const child = fork(path.join(import.meta.dirname, file), {
    // As docker-compose.yml starts what serves.
    execArgv: [...process.execArgv, ...(file === 'service-process.ts' ? ['--max-semi-space-size=16'] : [])],
    env: { PATH, HOME, ...(TMPDIR === '' ? {} : { TMPDIR }), ...env },
  });
  const heard: { kind: string }[] = [];
  child.on('message', (message: { kind: string }) => heard.push(message));
  child.on('error', () => undefined); // told something after its end: whoever hears it next is told of that
  return {
    pid: child.pid ?? 0,
    tell: (message) => void child.send(message),
    hear: async (kind, limitMs = 120_000) => {
      const signal = AbortSignal.timeout(limitMs);
      for (;;) {
        const index = heard.findIndex((message) => message.kind === kind);
        const [message] = index === -1 ? [] : heard.splice(index, 1);
        if (message !== undefined) return message as never;
        if (hasEnded(child)) throw new Error(`${file} ended with ${child.exitCode} before it said ${kind}`);
        if (signal.aborted) throw new Error(`${file} did not say ${kind} within ${limitMs} ms`);
        await nextSign(child, signal);
      }
    },
    [Symbol.asyncDispose]: async () => {
      if (hasEnded(child)) return;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

/** Resolves at the next message, at the end, or when the signal aborts. */
async function nextSign(child: ChildProcess, signal: AbortSignal): Promise<void> {
  const sign = new AbortController();
  const any = AbortSignal.any([signal, sign.signal]);
  const ends = [once(child, 'message', { signal: any }), once(child, 'exit', { signal: any })];
  await Promise.race(ends).catch(() => undefined);
  sign.abort();
  await Promise.allSettled(ends);
}
