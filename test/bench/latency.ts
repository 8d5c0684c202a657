import { compare } from './compare.ts';
import { problemsOf, startSystem } from './system.ts';
import { cpuOfTreeMs } from './machine.ts';
import type { BenchProcess } from './bench-process.ts';
import type { BenchStack } from './bench-stack.ts';
import type { BenchRun, Goal, Measured, ScenarioResult, Variant } from './compare.ts';
import type { SystemPlan } from './system.ts';
import type { UsageReport } from './usage.ts';

const concurrency = 512;
const webhookCount = 10;
const warmUpSeconds = 3;
const drainLimitMs = 60_000;
/** What GraphQL over HTTP can carry beside everything else on two cores, in events a second. */
const graphqlRateMax = 200;

const goals: Record<number, Goal> = {
  500: {
    text: 'p50 ≤ 4 ms, p99 ≤ 15 ms',
    isReached: ({ p50Ms = Number.NaN, p99Ms = Number.NaN }) => p50Ms <= 4 && p99Ms <= 15,
  },
  4000: { text: 'p99 ≤ 50 ms', isReached: ({ p99Ms = Number.NaN }) => p99Ms <= 50 },
};

/** How long an event takes from its emit to its receiver at steady rates; beside it the bare loop at the same rate. */
export async function runLatency(run: BenchRun): Promise<ScenarioResult[]> {
  const rates = run.ratePerSecond === null ? [200, 500, 4_000] : [run.ratePerSecond];
  const results: ScenarioResult[] = [];
  for (const rate of rates) results.push(await compareAt(run, rate));
  return results;
}

async function compareAt(run: BenchRun, rate: number): Promise<ScenarioResult> {
  const baseline = 'bare BullMQ + undici, no database';
  const goal = goals[rate];
  const overGraphql: Variant = {
    name: 'the same over GraphQL',
    against: baseline,
    run: async () => await measureRate(run, 'redis', rate, 'graphql'),
  };
  return await compare({
    title: `latency: ${rate} events a second, from emit to receive`,
    ratioOf: 'p99Ms',
    repeatCount: run.repeatCount,
    variants: [
      { name: baseline, run: async () => await measureRate(run, 'bare', rate) },
      {
        name: 'Posthorn on Redis',
        against: baseline,
        ...(goal && { goal }),
        run: async () => await measureRate(run, 'redis', rate),
      },
      ...(rate <= graphqlRateMax ? [overGraphql] : []),
    ],
  });
}

async function measureRate(
  { stack, quick }: BenchRun,
  kind: SystemPlan['kind'],
  ratePerSecond: number,
  over?: 'graphql',
): Promise<Measured> {
  await using system = await startSystem(stack, { kind, concurrency, webhooks: Array(webhookCount).fill('/ok') });
  const worker = await system.startWorker();
  if (over !== undefined) await system.startGateway();
  const load = await system.startLoad(over);
  const offer = { kind: 'offer', ratePerSecond, bulkSize: 1, types: system.types } as const;
  const warmUp = await load.run({ ...offer, seconds: warmUpSeconds, tag: 'warm-up' });
  await system.received(warmUp.acceptedCount, drainLimitMs);
  const cpuBefore = await cpuOf(stack, worker);
  const measured = await load.run({ ...offer, seconds: quick ? 4 : 15, tag: 'measured' });
  const cpuAfter = await cpuOf(stack, worker);
  const accepted = warmUp.acceptedCount + measured.acceptedCount;
  await system.received(accepted, drainLimitMs);
  const { latency } = await system.report({ measured: measured.acceptedCount });
  return {
    figures: {
      offeredPerSecond: measured.eventCount / measured.seconds,
      p50Ms: latency['measured']?.p50Ms ?? Number.NaN,
      p99Ms: latency['measured']?.p99Ms ?? Number.NaN,
      emitP50Ms: measured.emitP50Ms,
      emitP99Ms: measured.emitP99Ms,
      workerCpuCores: (cpuAfter.workerMs - cpuBefore.workerMs) / 1000 / measured.seconds,
      postgresCpuCores: (cpuAfter.postgresMs - cpuBefore.postgresMs) / 1000 / measured.seconds,
      redisCpuCores: (cpuAfter.redisMs - cpuBefore.redisMs) / 1000 / measured.seconds,
    },
    problems: await problemsOf(system, kind, accepted),
  };
}

/** CPU time so far. */
async function cpuOf({ postgresPid, redisPid }: BenchStack, worker: BenchProcess) {
  worker.tell({ kind: 'usage' });
  const { cpuMs: workerMs } = await worker.hear<UsageReport>('usage');
  return { workerMs, postgresMs: await cpuOfTreeMs(postgresPid), redisMs: await cpuOfTreeMs(redisPid) };
}
