import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { ChildProcess } from 'node:child_process';

/** A process of the benchmark: it answers what it is told. Ended with the benchmark, or when it has had its say. */
export interface BenchProcess extends Disposable {
  tell: (message: object) => void;
  /** The next message of that kind. Rejects when the process ends first or does not say it within the limit. */
  hear: <Message extends { kind: string }>(kind: Message['kind'], limitMs?: number) => Promise<Message>;
}

/** Starts a file of this folder as a process of its own, so that its event loop is its own. */
export function startBenchProcess(file: string, env: Record<string, string> = {}): BenchProcess {
  const child = fork(path.join(import.meta.dirname, file), { env: { ...process.env, ...env } });
  const heard: { kind: string }[] = [];
  child.on('message', (message: { kind: string }) => heard.push(message));
  return {
    tell: (message) => void child.send(message),
    hear: async (kind, limitMs = 120_000) => {
      const signal = AbortSignal.timeout(limitMs);
      for (;;) {
        const index = heard.findIndex((message) => message.kind === kind);
        const [message] = index === -1 ? [] : heard.splice(index, 1);
        if (message !== undefined) return message as never;
        if (child.exitCode !== null) throw new Error(`${file} ended with ${child.exitCode} before it said ${kind}`);
        await nextSign(child, signal);
      }
    },
    [Symbol.dispose]: () => void child.kill(),
  };
}

async function nextSign(child: ChildProcess, signal: AbortSignal): Promise<void> {
  const heard = new AbortController();
  const any = AbortSignal.any([signal, heard.signal]);
  try {
    await Promise.race([once(child, 'message', { signal: any }), once(child, 'exit', { signal: any })]);
  } finally {
    heard.abort();
  }
}
