import { openDatabase } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { deliveryStatuses } from '../../src/domain/delivery.ts';
import { drain, untilAllAgree } from './chaos-drain.ts';
import { emitAll } from './chaos-emitter.ts';
import type { Emission } from './chaos-emitter.ts';
import { faultKinds, strike } from './chaos-faults.ts';
import type { ChaosFault, FaultKind } from './chaos-faults.ts';
import { readAttempts, readDeliveries, readEventIds, readFailingCounts } from './chaos-outcome.ts';
import type { ChaosOutcome } from './chaos-outcome.ts';
import { startChaosProcesses } from './chaos-processes.ts';
import type { ChaosProcesses } from './chaos-processes.ts';
import { createChaosProject } from './chaos-projects.ts';
import type { ChaosProject } from './chaos-projects.ts';
import { startChaosReceivers } from './chaos-receivers.ts';
import type { ChaosReceivers } from './chaos-receivers.ts';
import { watchMemory } from './chaos-memory.ts';
import type { MemoryFigures } from './chaos-memory.ts';
import { startChaosServers } from './chaos-servers.ts';
import type { ChaosServers } from './chaos-servers.ts';
import { startSubscriber } from './chaos-subscriber.ts';
import type { ChaosSubscriber } from './chaos-subscriber.ts';
import { chaosProjectCount, receiverPlans } from './chaos-tempers.ts';
import { countDeliveries } from './e2e-calls.ts';
import { createApiClient, untilFound } from './e2e-client.ts';
import { seededRandom } from './feed.ts';

// One run: events are emitted at a steady rate to receivers of all tempers and watched by subscribers, while one fault
// after the other strikes. Then everything comes to rest, within a limit, and what is known of it is read.

export interface ChaosSettings {
  eventCount: number;
  eventsPerSecond: number;
  faultCount: number;
  /** Decides the faults, whom they hit, and about when. */
  seed: number;
}

const topology = { gatewayCount: 2, workerCount: 3 };
const transports = ['websocket', 'sse'] as const;
/** Emitting may be ahead of the faults by so many of the parts that they divide a run into. */
const emittedAhead = 1.5;
/** The part of the run in which some receivers are down. */
const down = { from: 0.2, until: 0.45 };
/** As long without any event being accepted, a run has failed: more than a fault takes. */
const stallLimitMs = 120_000;
/** Whole tables are read. */
const readLimitMs = 60_000;

/** A run under way: everything that it stands on, and what was emitted. */
export interface ChaosRun {
  settings: ChaosSettings;
  servers: ChaosServers;
  database: Database;
  receivers: ChaosReceivers;
  processes: ChaosProcesses;
  projects: readonly ChaosProject[];
  subscribers: readonly { project: number; subscriber: ChaosSubscriber }[];
  emission: Emission;
}

/** Runs it all. Rejects when it cannot go on; whatever it proves or not is in what it resolves with. */
export async function runChaos(settings: ChaosSettings): Promise<{ outcome: ChaosOutcome; memory: MemoryFigures }> {
  await using owned = new AsyncDisposableStack();
  const run = await startRun(owned, settings);
  const memory = owned.use(watchMemory(run));
  const startedAtMs = Date.now();
  const stopping = new AbortController();
  const faults: ChaosFault[] = [];
  const steps = [
    emitAll(run.emission, run.projects, settings.eventsPerSecond),
    strikeAll(run, faults, stopping.signal),
    turnDown(run, stopping.signal),
  ];
  const giveUp = (): void => {
    stopping.abort();
    run.emission.mayGoTo = settings.eventCount;
  };
  for (const step of steps) step.catch(giveUp);
  await Promise.allSettled(steps); // nothing may go on while the servers are stopped
  await Promise.all(steps);
  const emittedAtMs = Date.now();
  const open = await drain(run);
  const deliveredAtMs = Date.now();
  await untilAllAgree(run);
  const phases = { startedAtMs, emittedAtMs, deliveredAtMs, agreedAtMs: Date.now() };
  for (const { subscriber } of run.subscribers) await subscriber.stop();
  const outcome = { ...(await readOutcome(run)), faults, open, phases };
  return { outcome, memory: memory.figures() };
}

async function startRun(owned: AsyncDisposableStack, settings: ChaosSettings): Promise<ChaosRun> {
  const servers = owned.use(await startChaosServers());
  const receivers = owned.use(await startChaosReceivers());
  const database = owned.use(openDatabase(servers.postgres.url, { statementTimeoutMs: readLimitMs }));
  const processes = owned.use(await startChaosProcesses(servers.env, topology));
  const projects: ChaosProject[] = [];
  for (let number = 0; number < chaosProjectCount; number += 1) {
    const urls = receivers.urls.slice(number * receiverPlans.length, (number + 1) * receiverPlans.length);
    projects.push(await createChaosProject(database, `Chaos ${number}`, urls, processes.gatewayUrls));
  }
  receivers.tell({ kind: 'secrets', secrets: projects.flatMap(({ secrets }) => secrets) });
  const subscribers = projects.flatMap(({ calls }, project) =>
    transports.map((transport) => ({
      project,
      subscriber: startSubscriber(`project ${project} over ${transport}`, transport, calls),
    })),
  );
  // A run that is given up has its own reason; what it does to them says nothing.
  for (const { subscriber } of subscribers) owned.defer(async () => await subscriber.stop().catch(() => undefined));
  const emission = { eventCount: settings.eventCount, accepted: [], mayGoTo: 0, duplicateCount: 0 };
  return { settings, servers, database, receivers, processes, projects, subscribers, emission };
}

/** Resolves when so many events are accepted, or the run is given up. Rejects when none is accepted for long. */
async function untilAccepted({ emission }: ChaosRun, share: number, signal: AbortSignal): Promise<void> {
  const count = Math.floor(emission.eventCount * share);
  let seenCount = -1;
  while (emission.accepted.length < count && !signal.aborted) {
    seenCount = emission.accepted.length;
    const look = async (): Promise<true | null> =>
      emission.accepted.length > seenCount || signal.aborted ? true : null;
    await untilFound(`event ${seenCount + 1} of ${count} to be accepted`, look, stallLimitMs);
  }
}

async function strikeAll(run: ChaosRun, faults: ChaosFault[], signal: AbortSignal): Promise<void> {
  const random = seededRandom(run.settings.seed);
  const kinds = chooseFaults(run.settings.faultCount, random);
  for (const [index, kind] of kinds.entries()) {
    run.emission.mayGoTo = ((index + emittedAhead) / kinds.length) * run.settings.eventCount;
    await untilAccepted(run, (index + 0.2 + 0.6 * random()) / kinds.length, signal);
    if (signal.aborted) return;
    faults.push(await strike({ ...run, random }, kind));
  }
  run.emission.mayGoTo = run.settings.eventCount;
}

/** Each kind once in every round, in an order that chance decides. */
function chooseFaults(count: number, random: () => number): FaultKind[] {
  const chosen: FaultKind[] = [];
  while (chosen.length < count) {
    const round = faultKinds.map((kind) => ({ kind, order: random() })).sort((a, b) => a.order - b.order);
    chosen.push(...round.map(({ kind }) => kind));
  }
  return chosen.slice(0, count);
}

async function turnDown(run: ChaosRun, signal: AbortSignal): Promise<void> {
  await untilAccepted(run, down.from, signal);
  run.receivers.tell({ kind: 'down', isDown: true });
  await untilAccepted(run, down.until, signal);
  run.receivers.tell({ kind: 'down', isDown: false });
}

async function readOutcome(run: ChaosRun): Promise<Omit<ChaosOutcome, 'faults' | 'open' | 'phases'>> {
  const { database, emission, projects, processes, receivers, settings } = run;
  return {
    eventCount: settings.eventCount,
    accepted: emission.accepted,
    duplicateAnswerCount: emission.duplicateCount,
    trouble: sumOf(projects.map(({ calls }) => calls.trouble)),
    arrivals: receivers.arrivals,
    deliveries: await readDeliveries(
      database,
      projects.flatMap(({ webhookIds }) => webhookIds),
    ),
    attempts: await readAttempts(database),
    storedEventIds: await readEventIds(database),
    apiCounts: await Promise.all(projects.map(async (project) => await countByApi(project))),
    ownEnds: processes.ownEnds,
    failingCounts: await readFailingCounts(database),
    subscribers: run.subscribers.map(({ project, subscriber: { name, view, figures } }) => ({
      name,
      project,
      view,
      figures,
    })),
  };
}

function sumOf(counts: readonly ReadonlyMap<string, number>[]): Map<string, number> {
  const sum = new Map<string, number>();
  for (const [name, count] of counts.flatMap((each) => [...each])) sum.set(name, (sum.get(name) ?? 0) + count);
  return sum;
}

async function countByApi({ calls, webhookIds }: ChaosProject): Promise<Record<string, number | null>> {
  const [url = ''] = calls.gatewayUrls;
  await using client = createApiClient({ graphqlUrl: `${url}/graphql`, websocketUrl: '' }, calls.apiKey);
  return await countDeliveries(client, deliveryStatuses, webhookIds);
}
