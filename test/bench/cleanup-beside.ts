import { uuidOf } from '../../src/domain/ids.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { cleanup } from '../../src/store/cleanup.ts';
import { newId } from '../../src/store/new-id.ts';
import { compare } from './compare.ts';
import { fillHistory } from './fill-history.ts';
import { problemsOf, startSystem } from './system.ts';
import type { CleanupResult } from '../../src/store/cleanup.ts';
import type { BenchRun, Goal, Measured, ScenarioResult } from './compare.ts';
import type { LoadProcess, System } from './system.ts';

const ratePerSecond = 500;
const warmUpSeconds = 3;
const lateLimitMs = 30_000;
const fillLimitMs = 300_000;
const restLimitMs = 400_000;
const dayMs = 86_400_000;

const goal: Goal = { text: '< 2 × without', isReached: (_figures, ratio) => ratio < 2 };

/** What is shared by the windows in which deliveries are timed, with the cleanup and without. */
interface Beside {
  system: System;
  load: LoadProcess;
  windowSeconds: number;
  olderThan: Date;
  acceptedCount: number;
  removedCount: number;
}

/** Whether deliveries at a steady rate take longer while a cleanup removes old history beside them. */
export async function runCleanupBesideDeliveries(run: BenchRun): Promise<ScenarioResult> {
  const attemptCount = run.quick ? 60_000 : 600_000;
  await using system = await startSystem(run.stack, {
    kind: 'redis',
    webhooks: Array(10).fill('/ok'),
    concurrency: 512,
  });
  const storedCount = await storeOldHistory(system, attemptCount);
  await system.startWorker();
  await using load = await system.startLoad();
  const now = Date.now();
  const beside: Beside = {
    system,
    load,
    windowSeconds: run.quick ? 4 : 10,
    olderThan: new Date(now - 30 * dayMs),
    acceptedCount: 0,
    removedCount: 0,
  };
  await timeWindow(beside, warmUpSeconds);
  const none = 'no cleanup';
  const result = await compare({
    title: `history: deliveries at ${ratePerSecond} a second while ${storedCount} old rows are removed`,
    ratioOf: 'p99Ms',
    repeatCount: Math.max(2, run.repeatCount),
    variants: [
      { name: none, run: async () => ({ figures: await timeWindow(beside, beside.windowSeconds), problems: [] }) },
      { name: 'beside a cleanup', against: none, goal, run: async () => await timeWithCleanup(beside) },
    ],
  });
  noteRemoved(beside, await cleanup(system.database, beside, AbortSignal.timeout(restLimitMs)));
  const problems = await problemsOf(system, 'redis', beside.acceptedCount);
  if (beside.removedCount !== storedCount)
    problems.push(`stored ${storedCount}, but removed ${beside.removedCount} rows`);
  return { ...result, problems: [...result.problems, ...problems.map((problem) => `${result.title}: ${problem}`)] };
}

/** Gives how many rows of events, deliveries and attempts it stored. */
async function storeOldHistory(system: System, attemptCount: number): Promise<number> {
  const client = await connectToDatabase(system.databaseUrl);
  try {
    const from = new Date(Date.now() - 60 * dayMs);
    const projectId = uuidOf(newId('project'));
    await client.query(`insert into projects (id, name) values ($1, 'Old')`, [projectId]);
    await fillHistory(client, { projectId, attemptCount, from, days: 29 }, AbortSignal.timeout(fillLimitMs));
    const { rows } = await client.query<{ count: number }>(
      `select ((select count(*) from events) + (select count(*) from deliveries) + (select count(*) from attempts))::int as count`,
    );
    return rows[0]?.count ?? 0;
  } finally {
    await client.end();
  }
}

let windowNumber = 0;

async function timeWindow(beside: Beside, seconds: number): Promise<Record<string, number>> {
  const { system, load } = beside;
  windowNumber += 1;
  const tag = `window-${windowNumber}`;
  const { types } = system;
  const offered = await load.run({ kind: 'offer', ratePerSecond, bulkSize: 1, seconds, types, tag });
  beside.acceptedCount += offered.acceptedCount;
  await system.received(beside.acceptedCount, lateLimitMs);
  const { latency } = await system.report({ [tag]: offered.acceptedCount });
  const { p50Ms = Number.NaN, p99Ms = Number.NaN, maxMs = Number.NaN } = latency[tag] ?? {};
  return { p50Ms, p99Ms, maxMs };
}

async function timeWithCleanup(beside: Beside): Promise<Measured> {
  const stop = new AbortController();
  const startedAt = performance.now();
  const cleaning = cleanup(beside.system.database, beside, stop.signal).then((result) => ({
    rowCount: noteRemoved(beside, result),
    seconds: (performance.now() - startedAt) / 1000,
  }));
  const figures = await timeWindow(beside, beside.windowSeconds);
  stop.abort();
  const { rowCount, seconds } = await cleaning;
  return { figures: { ...figures, removedRows: rowCount, removedPerSecond: rowCount / seconds }, problems: [] };
}

function noteRemoved(beside: Beside, { eventCount, deliveryCount, attemptCount }: CleanupResult): number {
  const rowCount = eventCount + deliveryCount + attemptCount;
  beside.removedCount += rowCount;
  return rowCount;
}
