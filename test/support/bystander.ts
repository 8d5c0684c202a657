import { fork } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Posthorn } from './posthorn.ts';

/** A client that does no harm, beside others that do. */
export interface Bystander extends Disposable {
  /** How long its questions took since the report before, in milliseconds. Rejects when one was not answered rightly. */
  report: () => Promise<number[]>;
  /** The same of the next `count` questions at least. */
  next: (count: number) => Promise<number[]>;
}

/** Starts a process that asks `{ project { id } }` over and over. */
export function startBystander(posthorn: Pick<Posthorn, 'graphqlUrl' | 'apiKey'>): Bystander {
  const { PATH = '' } = process.env;
  const env = { PATH, GRAPHQL_URL: posthorn.graphqlUrl, API_KEY: posthorn.apiKey };
  const child = fork(path.join(import.meta.dirname, 'bystander-process.ts'), { env });
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the bystander ended with ${code}: a question of its was not answered`);
  });
  ended.catch(() => undefined); // whoever asks for a report is told
  const report = async (): Promise<number[]> => {
    child.send('report');
    const [timesMs] = await Promise.race([once(child, 'message'), ended]);
    return timesMs;
  };
  return {
    report,
    next: async (count) => {
      const timesMs: number[] = [];
      await report();
      while (timesMs.length < count) timesMs.push(...(await report()));
      return timesMs;
    },
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  };
}
