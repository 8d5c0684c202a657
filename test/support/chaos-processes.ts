import { findSteadyPort } from './steady-port.ts';
import { runPosthorn, untilReady } from './posthorn.ts';
import type { RunningCommand } from './posthorn.ts';

/** A process of Posthorn from its start to its end. */
export interface ChaosLife {
  /** Its brand, which names the header of its signatures: a receiver sees by it who sent. */
  name: string;
  running: RunningCommand;
  ready: Promise<void>;
  /** Whether the killer killed it: any other end is its own. */
  isKilled: boolean;
}

/** A place for a process, which has one life after the other. */
export interface ChaosMember {
  name: string;
  role: 'gateway' | 'worker';
  life: ChaosLife;
  /** Lives so far. */
  lifeCount: number;
}

/** The processes of Posthorn, and the supervisor that starts again whatever ends, as Docker does. */
export interface ChaosProcesses extends AsyncDisposable {
  members: readonly ChaosMember[];
  /** Where the gateways are, whichever life serves there. */
  gatewayUrls: readonly string[];
  /** What ended although nobody killed it, with the end of its output. */
  ownEnds: readonly string[];
  /** Kills with SIGKILL, all at once, and resolves when they are gone. Gives the lives that ended. */
  kill: (members: readonly ChaosMember[]) => Promise<ChaosLife[]>;
  /** Resolves when every process has said that it is ready. */
  untilReady: () => Promise<void>;
}

export interface ChaosTopology {
  gatewayCount: number;
  workerCount: number;
}

/** Processes that may end by themselves before the supervisor gives up. */
const ownEndsMax = 10;
const outputShown = 2_000;

/** Starts the processes on servers that are migrated. Resolves when all are ready. */
export async function startChaosProcesses(
  env: Record<string, string>,
  { gatewayCount, workerCount }: ChaosTopology,
): Promise<ChaosProcesses> {
  const supervisor = new Supervisor(env);
  await using starting = new AsyncDisposableStack();
  starting.use(supervisor);
  const gatewayUrls: string[] = [];
  for (let number = 1; number <= gatewayCount; number += 1) {
    const port = await findSteadyPort();
    gatewayUrls.push(`http://127.0.0.1:${port}`);
    supervisor.add(`gateway-${number}`, 'gateway', { PORT: String(port) });
  }
  for (let number = 1; number <= workerCount; number += 1) supervisor.add(`worker-${number}`, 'worker', {});
  await supervisor.untilReady();
  const owned = starting.move();
  return {
    members: supervisor.members,
    ownEnds: supervisor.ownEnds,
    gatewayUrls,
    kill: async (members) => await supervisor.kill(members),
    untilReady: async () => await supervisor.untilReady(),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

class Supervisor implements AsyncDisposable {
  readonly members: ChaosMember[] = [];
  readonly ownEnds: string[] = [];
  readonly #env: Record<string, string>;
  #stopping = false;

  constructor(env: Record<string, string>) {
    this.#env = env;
  }

  add(name: string, role: ChaosMember['role'], env: Record<string, string>): void {
    const start = (lifeNumber: number): ChaosLife => startLife(role, `${name}-${lifeNumber}`, { ...this.#env, ...env });
    const member: ChaosMember = { name, role, life: start(1), lifeCount: 1 };
    this.members.push(member);
    void this.#supervise(member, start);
  }

  async kill(members: readonly ChaosMember[]): Promise<ChaosLife[]> {
    const lives = members.map(({ life }) => life);
    for (const life of lives) {
      life.isKilled = true;
      life.running.process.kill('SIGKILL');
    }
    await Promise.all(lives.map(async ({ running }) => await running.ended));
    return lives;
  }

  async untilReady(): Promise<void> {
    await Promise.all(this.members.map(async ({ life }) => await life.ready));
  }

  async #supervise(member: ChaosMember, start: (lifeNumber: number) => ChaosLife): Promise<void> {
    for (;;) {
      const { name, running, ...life } = member.life;
      const { code, signal } = await running.ended;
      if (this.#stopping) return;
      if (!member.life.isKilled) {
        const last = running.output().slice(-outputShown);
        this.ownEnds.push(`${name} ended with ${code ?? signal}: ${last}`);
        life.ready.catch(ignoreEnded);
        if (this.ownEnds.length > ownEndsMax) return;
      }
      member.lifeCount += 1;
      member.life = start(member.lifeCount);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    const ends = this.members.map(async ({ life: { running } }) => {
      // A process that is stopped takes no SIGTERM before it goes on.
      for (const signal of ['SIGCONT', 'SIGTERM'] as const) running.process.kill(signal);
      await running.ended;
    });
    await Promise.all(ends);
  }
}

function startLife(role: string, name: string, env: Record<string, string>): ChaosLife {
  const running = runPosthorn([role], { ...env, POSTHORN_BRAND: name });
  const ready = untilReady(running);
  ready.catch(ignoreEnded); // Whoever waits for it is told; one that is killed before has nobody waiting.
  return { name, running, ready, isKilled: false };
}

function ignoreEnded(): void {}
