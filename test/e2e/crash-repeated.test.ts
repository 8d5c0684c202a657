import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CrashTopology } from '../support/crash-processes.ts';
import { attemptName, countMiscounted, listAttempts } from '../support/crash-projects.ts';
import type { CrashProject } from '../support/crash-projects.ts';
import type { Arrival } from '../support/crash-receivers.ts';
import { arrivalsFrom, projectCount, startCrashRun, strike, webhooksPerProject } from '../support/crash-run.ts';
import type { CrashKill, CrashRun } from '../support/crash-run.ts';
import { countDeliveries } from '../support/e2e-calls.ts';
import { untilFound } from '../support/e2e-client.ts';
import { createStack } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { runPosthorn } from '../support/posthorn.ts';

// `npm run crash` runs this with 20,000 deliveries and 20 kills. CRASH_SEED repeats the moments of a run, as far as the
// machine does.

const deliveryCount = Number(process.env['CRASH_DELIVERIES'] ?? 2_000);
const killCount = Number(process.env['CRASH_KILLS'] ?? 6);
const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 2 ** 31);
const eventCount = deliveryCount / webhooksPerProject;
const endLimitMs = 60_000 + deliveryCount * 5;
const runLimitMs = 60_000 + killCount * 10_000 + deliveryCount * 10 + endLimitMs;

/** What may be under way in a worker: a batch of 50 is let in while one place of the limit is free. */
const inFlightMax = 32;
const underWayMax = inFlightMax + 49;
/** The claims of a dead worker count as abandoned after three times the timeout and a second. */
const quickTimeouts = { WORKER_MAX_IN_FLIGHT: String(inFlightMax), WEBHOOK_TIMEOUT: '1', SWEEP_INTERVAL: '0.3' };

const topologies: (CrashTopology & { queue: string; kind: 'redis' | 'postgres' })[] = [
  { queue: 'a gateway and two workers on Redis', kind: 'redis', command: 'worker', count: 2 },
  { queue: 'one process with its queue on Postgres', kind: 'postgres', command: 'start', count: 1 },
];

describe.each(topologies)('kill -9 again and again ($queue)', (topology) => {
  let stack: E2eStack;

  beforeAll(async () => {
    stack = await createStack(topology.kind, quickTimeouts);
    const migrated = runPosthorn(['migrate'], stack.env);
    const { code } = await migrated.ended;
    if (code !== 0) throw new Error(`posthorn migrate ended with ${code}:\n${migrated.output()}`);
  });

  afterAll(async () => {
    await stack[Symbol.asyncDispose]();
  });

  test(
    `${killCount} kills during ${deliveryCount} deliveries lose none, and double only what was in flight`,
    { timeout: runLimitMs },
    async () => {
      process.stdout.write(`kill -9 (${topology.queue}): CRASH_SEED=${seed}\n`);
      await using run = await startCrashRun(stack, topology, { deliveryCount, killCount, seed });
      for (let number = 0; number < killCount; number += 1) await strike(run, number);
      await untilAllDelivered(run);
      printFigures(run, topology);
      expect(run.kills).toHaveLength(killCount);
      await expectNothingLost(run);
      expectOnlyInFlightDoubled(run);
      await expectEachAttemptOnce(run);
    },
  );
});

async function untilAllDelivered({ processes, projects }: CrashRun): Promise<void> {
  await Promise.all(processes.lives.map(async ({ ready }) => await ready));
  const look = async (): Promise<true | null> => {
    const counts = await Promise.all(projects.map(countDelivered));
    return counts.reduce((sum, count) => sum + count, 0) === deliveryCount ? true : null;
  };
  await untilFound('all deliveries to be delivered', look, endLimitMs).catch((cause: unknown) => {
    throw new Error(`the run did not end, after:\n${processes.output()}`, { cause });
  });
}

async function countDelivered({ client, webhookIds }: CrashProject): Promise<number> {
  return (await countDeliveries(client, ['DELIVERED'], webhookIds))['DELIVERED'] ?? 0;
}

/**
 * The requests that were in flight at a kill: the victim had sent them, and its record of them was not there when it was
 * gone. Exact but for a record whose statement the database was still at; it then counts one too many.
 */
function inFlightAt(run: CrashRun, { victims, recorded }: CrashKill): Arrival[] {
  return arrivalsFrom(run, victims).filter((arrival) => !recorded.has(nameOf(arrival)));
}

function nameOf({ deliveryId, attemptNumber }: Arrival): string {
  return attemptName(deliveryId, attemptNumber);
}

function duplicateCountOf({ receivers: { arrivals } }: CrashRun): number {
  return arrivals.length - new Set(arrivals.map(nameOf)).size;
}

function printFigures(run: CrashRun, { queue }: CrashTopology & { queue: string }): void {
  const inFlight = run.kills.map((each) => inFlightAt(run, each).length);
  const victimCount = run.kills.reduce((sum, { victims }) => sum + victims.length, 0);
  const lines = [
    `${run.receivers.deliveryIds.size} of ${run.accepted.length} accepted deliveries arrived, by ${run.receivers.arrivals.length} requests`,
    `${run.kills.length} kills of ${victimCount} processes: ${run.kills.map(({ kind, ahead }, place) => `${kind} ${inFlight[place]} in flight, ${ahead} ahead`).join(' | ')}`,
    `${duplicateCountOf(run)} duplicate requests; in flight at the kills: ${inFlight.reduce((sum, count) => sum + count, 0)}; by configuration at most ${victimCount * underWayMax}`,
  ];
  process.stdout.write(lines.map((line) => `kill -9 (${queue}): ${line}\n`).join(''));
}

/** What was accepted is what arrived, and the ledger has all of it as delivered. */
async function expectNothingLost(run: CrashRun): Promise<void> {
  expect(run.accepted).toHaveLength(deliveryCount);
  expect(new Set(run.accepted)).toEqual(run.receivers.deliveryIds);
  const others = ['PENDING', 'DELIVERING', 'RETRYING', 'FAILED', 'SKIPPED', 'CANCELLED'] as const;
  for (const [place, { client, webhookIds }] of run.projects.entries()) {
    const all = Math.ceil((eventCount - place) / projectCount) * webhooksPerProject;
    expect(await countDeliveries(client, ['DELIVERED', ...others], webhookIds)).toEqual({
      all,
      DELIVERED: all,
      ...Object.fromEntries(others.map((status) => [status, 0])),
    });
  }
}

/** A request that was made again had been in flight at a kill of its sender; every request of a delivery says the same. */
function expectOnlyInFlightDoubled(run: CrashRun): void {
  const { arrivals } = run.receivers;
  const inFlight = new Set(run.kills.flatMap((each) => inFlightAt(run, each)));
  const repeated = [...Map.groupBy(arrivals, nameOf).values()].flatMap((requests) => requests.slice(0, -1));
  expect(repeated.filter((arrival) => !inFlight.has(arrival))).toEqual([]);
  expect(duplicateCountOf(run)).toBeLessThanOrEqual(inFlight.size);
  for (const requests of Map.groupBy(arrivals, ({ deliveryId }) => deliveryId).values()) {
    expect(new Set(requests.map(({ messageId, body }) => `${messageId} ${body}`)).size).toBe(1);
  }
  // The kills did hit: deliveries were still to come at each, and attempts were in flight.
  const idle = run.kills.filter(({ kind, ahead }) => ['ONE', 'ALL'].includes(kind) && ahead === 0);
  expect(idle).toEqual([]);
  expect(inFlight.size).toBeGreaterThan(0);
}

/** Every attempt that a receiver saw is recorded, each once, and no other; each delivery has counted its own. */
async function expectEachAttemptOnce(run: CrashRun): Promise<void> {
  const recorded = await listAttempts(run.database);
  const seen = new Set(run.receivers.arrivals.map(nameOf));
  expect(recorded).toHaveLength(seen.size);
  expect(new Set(recorded)).toEqual(seen);
  expect(await countMiscounted(run.database)).toBe(0);
}
