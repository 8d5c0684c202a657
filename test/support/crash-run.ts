import { setTimeout as after } from 'node:timers/promises';
import { openDatabase } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { startCrashProcesses } from './crash-processes.ts';
import type { CrashProcesses, CrashTopology, Life } from './crash-processes.ts';
import { createCrashProject, emitThroughCrashes, listAttempts } from './crash-projects.ts';
import type { CrashProject } from './crash-projects.ts';
import { startCrashReceivers } from './crash-receivers.ts';
import type { Arrival, CrashReceivers } from './crash-receivers.ts';
import type { E2eStack } from './e2e-stack.ts';

// Events are emitted part by part, and within each part processes are killed, while deliveries are under way.

export const projectCount = 2;
export const webhooksPerProject = 5;
const emitLaneCount = 8;
/** A start takes about so long; a kill comes within the first of these or the second after the awaited requests. */
const startMsMax = 1_000;
const jitterMsMax = 10;
const stepLimitMs = 60_000;

/** Whom a kill hits, and when; `STARTING` may hit a process that has not taken anything yet. */
const killKinds = ['ONE', 'JUST_STARTED', 'ONE', 'ALL', 'STARTING', 'ONE'] as const;
type KillKind = (typeof killKinds)[number];

/** How much happens in a run. */
export interface CrashSettings {
  /** A multiple of the webhooks that an event goes to. */
  deliveryCount: number;
  killCount: number;
  /** Decides the moments of the kills, as far as the machine repeats itself. */
  seed: number;
}

/** A kill, as it was. */
export interface CrashKill {
  kind: KillKind;
  victims: readonly Life[];
  /** Deliveries that were accepted or about to be, and of which no request had come. */
  ahead: number;
  /** Names of the attempts at deliveries of the victims that were recorded by then. */
  recorded: ReadonlySet<string>;
}

/** A run under way: everything it stands on, and what has been done. */
export interface CrashRun extends AsyncDisposable {
  settings: CrashSettings;
  database: Database;
  processes: CrashProcesses;
  receivers: CrashReceivers;
  projects: readonly CrashProject[];
  random: () => number;
  /** Ids of deliveries as the emits gave them. */
  accepted: string[];
  /** Deliveries of the events that are emitted or being so. */
  releasedCount: number;
  kills: CrashKill[];
}

/** Starts Posthorn on a stack that is migrated, and makes the projects. */
export async function startCrashRun(
  stack: E2eStack,
  topology: CrashTopology,
  settings: CrashSettings,
): Promise<CrashRun> {
  await using owned = new AsyncDisposableStack();
  const database = owned.use(openDatabase(stack.env['DATABASE_URL'] ?? ''));
  const receivers = owned.use(await startCrashReceivers(projectCount * webhooksPerProject));
  const processes = owned.use(await startCrashProcesses(stack, topology));
  const projects: CrashProject[] = [];
  for (let number = 0; number < projectCount; number += 1) {
    const urls = receivers.urls.slice(number * webhooksPerProject, (number + 1) * webhooksPerProject);
    projects.push(owned.use(await createCrashProject(database, processes.endpoint, `Crash ${number}`, urls)));
  }
  const started = owned.move();
  return {
    settings,
    database,
    processes,
    receivers,
    projects,
    random: seededRandom(settings.seed),
    accepted: [],
    releasedCount: 0,
    kills: [],
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

/** Emits the next part of the events and kills while their deliveries are under way, then starts what was killed anew. */
export async function strike(run: CrashRun, number: number): Promise<void> {
  const { killCount, deliveryCount } = run.settings;
  const eventCount = deliveryCount / webhooksPerProject;
  const kind = killKinds[number % killKinds.length] ?? 'ONE';
  if (kind !== 'STARTING') await Promise.all(run.processes.lives.map(async ({ ready }) => await ready));
  const firstEvent = Math.floor((number * eventCount) / killCount);
  const lastEvent = Math.floor(((number + 1) * eventCount) / killCount);
  run.releasedCount = lastEvent * webhooksPerProject;
  await Promise.all([emitEvents(run, firstEvent, lastEvent), killAtMoment(run, kind)]);
}

/** Emits the events from the first to before the last, to the projects in turn, several at a time. */
async function emitEvents(run: CrashRun, first: number, last: number): Promise<void> {
  let next = first;
  const lanes = Array.from({ length: emitLaneCount }, async () => {
    for (let number = next++; number < last; number = next++) {
      const project = run.projects[number % projectCount];
      if (project !== undefined) run.accepted.push(...(await emitThroughCrashes(project, number)));
    }
  });
  await Promise.all(lanes);
}

async function killAtMoment(run: CrashRun, kind: KillKind): Promise<void> {
  const { processes, receivers } = run;
  const victims = await untilMoment(run, kind);
  const ahead = run.releasedCount - receivers.deliveryIds.size;
  await processes.kill(victims);
  const theirs = new Set(arrivalsFrom(run, victims).map(({ deliveryId }) => deliveryId));
  run.kills.push({ kind, victims, ahead, recorded: new Set(await listAttempts(run.database, theirs)) });
  processes.replace();
}

/** Waits until the moment of a kill and gives whom it hits. The random milliseconds are what is tested: any moment will do. */
async function untilMoment(run: CrashRun, kind: KillKind): Promise<readonly Life[]> {
  const { processes, receivers, random } = run;
  const youngest = processes.lives.slice(-1);
  if (kind === 'STARTING') {
    await after(random() * startMsMax);
    return youngest;
  }
  if (kind === 'JUST_STARTED') {
    const hasSent = (): boolean => arrivalsFrom(run, youngest).length > 0;
    const allCame = (): boolean => receivers.deliveryIds.size === run.releasedCount;
    await receivers.until('a new process to send', () => hasSent() || allCame(), stepLimitMs);
    await after(random() * jitterMsMax);
    return youngest;
  }
  const part = run.settings.deliveryCount / run.settings.killCount;
  const target = receivers.arrivals.length + part * (0.05 + 0.65 * random());
  await receivers.until(`${Math.ceil(target)} requests`, () => receivers.arrivals.length >= target, stepLimitMs);
  await after(random() * jitterMsMax);
  if (kind === 'ALL') return processes.lives;
  const place = Math.floor(random() * processes.lives.length);
  return processes.lives.slice(place, place + 1);
}

/** What these processes sent, as far as it came. */
export function arrivalsFrom({ receivers }: CrashRun, senders: readonly Life[]): Arrival[] {
  const names = new Set(senders.map(({ name }) => name));
  return receivers.arrivals.filter(({ sender }) => names.has(sender));
}

/** Numbers from 0 to below 1 that a seed decides. Source: mulberry32. */
function seededRandom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
