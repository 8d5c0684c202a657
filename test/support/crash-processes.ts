import type { Endpoint } from './e2e-client.ts';
import type { E2eStack } from './e2e-stack.ts';
import { runPosthorn, untilReady } from './posthorn.ts';
import type { RunningCommand } from './posthorn.ts';

/** A process that delivers, from its start to its kill. */
export interface Life {
  /** Its brand, which names the header of its signatures: a receiver sees by it who sent. */
  name: string;
  running: RunningCommand;
  ready: Promise<void>;
}

/** The processes that deliver, of which the number stays the same, and where the API is. */
export interface CrashProcesses extends AsyncDisposable {
  /** Those that run or start, the oldest first. */
  lives: readonly Life[];
  /** Its URLs change as the process that serves it does. */
  endpoint: Endpoint;
  /** What every process has printed. */
  output: () => string;
  /** Ends them, all at once, with SIGKILL unless said, and resolves when they are gone. */
  kill(lives: readonly Life[], signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Starts as many as were killed, without waiting until they are ready. */
  replace(): void;
}

/** How Posthorn runs while its processes are killed. */
export interface CrashTopology {
  /** What delivers: workers beside a gateway that stays, or everything in one process. */
  command: 'worker' | 'start';
  count: number;
}

/** Starts the processes on a stack that is migrated. Resolves when all are ready. */
export async function startCrashProcesses(stack: E2eStack, topology: CrashTopology): Promise<CrashProcesses> {
  await using starting = new AsyncDisposableStack();
  const endpoint: Endpoint = { graphqlUrl: '', websocketUrl: '' };
  const all: Life[] = [];
  let lives: Life[] = [];
  starting.defer(async () => void (await Promise.all(all.map(end))));
  const start = (command: string): Life => {
    const life = startLife(stack, command, `life-${all.length}`);
    all.push(life);
    if (command !== 'worker') life.ready.then(() => readEndpoint(endpoint, life.running), ignoreKilled);
    return life;
  };
  const replace = (): void => {
    while (lives.length < topology.count) lives.push(start(topology.command));
  };
  if (topology.command === 'worker') await start('gateway').ready;
  replace();
  await Promise.all(lives.map(async ({ ready }) => await ready));
  const owned = starting.move();
  return {
    get lives() {
      return lives;
    },
    endpoint,
    output: () => all.map(({ name, running }) => `${name}: ${running.output()}`).join('\n'),
    kill: async (victims, signal = 'SIGKILL') => {
      for (const { running } of victims) running.process.kill(signal);
      lives = lives.filter((life) => !victims.includes(life));
      await Promise.all(victims.map(async ({ running }) => await running.ended));
    },
    replace,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

function startLife(stack: E2eStack, command: string, name: string): Life {
  const running = runPosthorn([command], { ...stack.env, POSTHORN_BRAND: name });
  const ready = untilReady(running);
  ready.catch(ignoreKilled); // Whoever waits for it is told; one that is killed before has nobody waiting.
  return { name, running, ready };
}

async function end({ running }: Life): Promise<void> {
  if (running.process.exitCode === null && running.process.signalCode === null) running.process.kill('SIGTERM');
  await running.ended;
}

/** Takes over where the process says that it serves. */
function readEndpoint(endpoint: Endpoint, running: RunningCommand): void {
  const [url] = /http:\/\/127\.0\.0\.1:\d+/.exec(running.output()) ?? [];
  if (url === undefined) throw new Error(`no URL in: ${running.output()}`);
  endpoint.graphqlUrl = `${url}/graphql`;
  endpoint.websocketUrl = `${url.replace(/^http/, 'ws')}/graphql`;
}

function ignoreKilled(): void {}
