import { once } from 'node:events';
import { spawn } from 'node:child_process';
import path from 'node:path';
import { findDemoFacts } from '../demo-project.ts';
import { endsWithin } from '../time-limit.ts';
import type { ChildProcess } from 'node:child_process';
import type { DemoFacts } from '../demo-project.ts';

const probeLimitMs = 3000;
const startLimitMs = 120_000;
/** Longer than a graceful stop may take. */
const stopLimitMs = 25_000;
const outputCharactersMax = 20_000;

/** The Posthorn that the demo works with; disposing stops it if it is the demo's own. */
export interface DemoPosthorn extends AsyncDisposable {
  facts: DemoFacts;
  /** Started for this demo. */
  own: boolean;
}

/** The Posthorn that the data folder's `demo.json` names when it answers, else a new one on a free port. */
export async function findOrStartPosthorn(dataFolder: string, signal: AbortSignal): Promise<DemoPosthorn> {
  const facts = await findDemoFacts(dataFolder);
  if (facts !== null && (await answers(facts))) return { facts, own: false, [Symbol.asyncDispose]: async () => {} };
  return await startPosthorn(dataFolder, signal);
}

/** Whether a Posthorn that is ready and knows the key stands there; anything may have taken the port since. */
async function answers({ graphqlUrl, apiKey }: DemoFacts): Promise<boolean> {
  const signal = AbortSignal.timeout(probeLimitMs);
  try {
    const ready = await fetch(new URL('/ready', graphqlUrl), { signal });
    if (!ready.ok) return false;
    const known = await fetch(graphqlUrl, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
      body: '{"query":"{ project { id } }"}',
      signal,
    });
    return known.ok && !(await known.text()).includes('"errors"');
  } catch {
    return false; // nobody there, which is an answer too
  }
}

/** Starts `posthorn start` as a process of its own, with this one's settings but a free port. */
async function startPosthorn(dataFolder: string, signal: AbortSignal): Promise<DemoPosthorn> {
  const main = path.resolve(import.meta.dirname, '../main.ts');
  const child = spawn(process.execPath, [main, 'start'], {
    env: { ...process.env, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
    // In its own process group Ctrl-C reaches only the demo, which then still can delete its webhooks.
    detached: true,
  });
  const killAtExit = (): void => void child.kill('SIGTERM');
  process.on('exit', killAtExit);
  const stop = async (): Promise<void> => {
    await stopProcess(child);
    process.off('exit', killAtExit);
  };
  try {
    await untilReady(child, signal);
    const facts = await findDemoFacts(dataFolder);
    if (facts === null) throw new Error(`Posthorn is ready, but ${dataFolder} holds no demo.json`);
    return { facts, own: true, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves when the process says that it is ready; rejects with its own words when it ends instead. */
async function untilReady(child: ChildProcess, signal: AbortSignal): Promise<void> {
  let printed = '';
  let complaint = '';
  await new Promise<void>((resolve, reject) => {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(startLimitMs)]);
    limit.addEventListener('abort', () => {
      reject(new Error(signal.aborted ? 'the demo was stopped' : `Posthorn was not ready within ${startLimitMs} ms`));
    });
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      // Read to the end, so that the pipe never fills up; only what comes before ready is looked at.
      printed = (printed + text).slice(-outputCharactersMax);
      if (printed.includes('Posthorn is ready')) resolve();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      complaint = (complaint + text).slice(-outputCharactersMax);
    });
    child.once('error', reject);
    child.once('close', () => {
      const words = complaint.trim().replace(/^posthorn: /, '');
      reject(new Error(words === '' ? 'Posthorn ended before it was ready' : words));
    });
  });
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const closed = once(child, 'close');
  child.kill('SIGTERM');
  if (await endsWithin(stopLimitMs, closed)) return;
  child.kill('SIGKILL');
  await closed;
}
