import { setTimeout as after } from 'node:timers/promises';
import { idFromUuid } from '../../src/domain/ids.ts';
import type { Database } from '../../src/store/database.ts';
import type { PostgresEnd } from './mortal-postgres.ts';
import type { ChaosMember, ChaosProcesses } from './chaos-processes.ts';
import type { ChaosServers } from './chaos-servers.ts';
import { attemptName } from './crash-projects.ts';
import { untilFound } from './e2e-client.ts';

// What can happen to a deployment, one thing at a time.

export const faultKinds = [
  'kill a worker',
  'kill a gateway',
  'kill all workers',
  'crash Postgres',
  'restart Postgres',
  'restart durable Redis',
  'flush durable Redis',
  'lose volatile Redis',
  'stop a worker for a while',
  'stop a gateway for a while',
  'stop a Redis for a while',
] as const;
export type FaultKind = (typeof faultKinds)[number];

/** A fault, as it was. */
export interface ChaosFault {
  kind: FaultKind;
  /** Whom it hit. */
  target: string;
  atMs: number;
  /** When everything ran again, in milliseconds since the epoch. */
  backAtMs: number;
  /** What it may have cost an attempt's record; null where it may not cost any. */
  loss: RecordLoss | null;
}

/** Which attempts a fault may have kept from being recorded: requests of these lives that are not among the recorded ones. */
export interface RecordLoss {
  lives: ReadonlySet<string>;
  /** Names of the attempts that were recorded when it was over, of the last `recordedSinceMs`. */
  recorded: ReadonlySet<string>;
  atMs: number;
}

export interface FaultWorld {
  servers: ChaosServers;
  processes: ChaosProcesses;
  database: Database;
  random: () => number;
}

/** How far back the recorded attempts are looked at: longer than an attempt and its record take. */
export const recordedSinceMs = 45_000;
const backLimitMs = 60_000;
/** For how long a server or process is away or stopped. */
const awayMs = { least: 500, most: 3_000 };

/** Lets it happen, and resolves when everything runs again. */
export async function strike(world: FaultWorld, kind: FaultKind): Promise<ChaosFault> {
  const atMs = Date.now();
  const { target, loss } = await happen[kind](world);
  await world.processes.untilReady();
  return { kind, target, atMs, backAtMs: Date.now(), loss };
}

type Happened = Pick<ChaosFault, 'target' | 'loss'>;

const happen: Record<FaultKind, (world: FaultWorld) => Promise<Happened>> = {
  'kill a worker': async (world) => await kill(world, [anyOf(world, 'worker')]),
  'kill a gateway': async (world) => await kill(world, [anyOf(world, 'gateway')]),
  'kill all workers': async (world) => await kill(world, membersOf(world, 'worker')),
  'crash Postgres': async (world) => await restartPostgres(world, 'immediate'),
  'restart Postgres': async (world) => await restartPostgres(world, 'fast'),
  'restart durable Redis': async (world) => await restartRedis(world, 'durable'),
  'flush durable Redis': async ({ servers }) => {
    await servers.durable.flush();
    return { target: 'durable', loss: null };
  },
  'lose volatile Redis': async (world) => await restartRedis(world, 'volatile'),
  'stop a worker for a while': async (world) => await stopForAWhile(world, anyOf(world, 'worker')),
  'stop a gateway for a while': async (world) => await stopForAWhile(world, anyOf(world, 'gateway')),
  'stop a Redis for a while': async (world) => await stopRedisForAWhile(world),
};

async function kill(world: FaultWorld, members: readonly ChaosMember[]): Promise<Happened> {
  const lives = await world.processes.kill(members);
  const names = lives.map(({ name }) => name);
  return { target: names.join(', '), loss: await lossOf(world, names) };
}

async function restartPostgres(world: FaultWorld, how: PostgresEnd): Promise<Happened> {
  const { postgres } = world.servers;
  await postgres.end(how);
  await postgres.start();
  const lives = world.processes.members.map(({ life }) => life.name);
  return { target: 'Postgres', loss: await lossOf(world, lives) };
}

async function restartRedis({ servers, random }: FaultWorld, which: 'durable' | 'volatile'): Promise<Happened> {
  await servers[which].kill();
  await away(random);
  await servers[which].start();
  return { target: which, loss: null };
}

async function stopForAWhile({ random }: FaultWorld, { life }: ChaosMember): Promise<Happened> {
  await stopped(life.running.process.pid ?? 0, random);
  return { target: life.name, loss: null };
}

async function stopRedisForAWhile({ servers, random }: FaultWorld): Promise<Happened> {
  const which = random() < 0.5 ? 'durable' : 'volatile';
  await stopped(servers[which].pid(), random);
  return { target: which, loss: null };
}

async function stopped(pid: number, random: () => number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await away(random);
  process.kill(pid, 'SIGCONT');
}

async function away(random: () => number): Promise<void> {
  await after(awayMs.least + random() * (awayMs.most - awayMs.least));
}

function membersOf({ processes }: FaultWorld, role: ChaosMember['role']): ChaosMember[] {
  return processes.members.filter((member) => member.role === role);
}

function anyOf(world: FaultWorld, role: ChaosMember['role']): ChaosMember {
  const members = membersOf(world, role);
  const member = members[Math.floor(world.random() * members.length)];
  if (member === undefined) throw new Error(`there is no ${role}`);
  return member;
}

async function lossOf({ database }: FaultWorld, lives: readonly string[]): Promise<RecordLoss> {
  const look = async (): Promise<Set<string> | null> => await readRecorded(database).catch(() => null); // not back yet
  const recorded = await untilFound('Postgres to answer', look, backLimitMs);
  return { lives: new Set(lives), recorded, atMs: Date.now() };
}

/** The names of the attempts whose ids were made within `recordedSinceMs`. */
async function readRecorded(database: Database): Promise<Set<string>> {
  const hex = (Date.now() - recordedSinceMs).toString(16).padStart(12, '0');
  const since = `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
  const { rows } = await database.pipeline.query<{ delivery_id: string; number: number }>({
    text: 'select delivery_id, number from attempts where id >= $1',
    values: [since],
  });
  return new Set(rows.map((row) => attemptName(idFromUuid('delivery', row.delivery_id), row.number)));
}
