import { setTimeout } from 'node:timers/promises';
import { compare } from './compare.ts';
import { problemsOf, startSystem } from './system.ts';
import type { BenchRun, Goal, Measured, ScenarioResult, Variant } from './compare.ts';
import type { System } from './system.ts';

/**
 * Fewer than hang at once (50 a second, 10 s each) where nothing limits each webhook: with room for all of them they would
 * harm nobody at this rate, and the next higher one would show it.
 */
const concurrency = 200;
/** The default of WORKER_MAX_IN_FLIGHT, for one webhook that is alone. */
const concurrencyAlone = 512;
const webhookCount = 100;
const ratePerSecond = 500;
const warmUpSeconds = 2;
/** How long the healthy receivers' deliveries may take after the last emit; what has not come by then counts as never. */
const lateLimitMs = 30_000;

const goal: Goal = { text: '≤ 1.5 × without', isReached: (_figures, ratio) => ratio <= 1.5 };

/** Whether receivers that hang, are slow or are dead slow down the deliveries to the others. */
export async function runIsolation(run: BenchRun): Promise<ScenarioResult[]> {
  return [await hanging(run, 1), await hanging(run, 100), await slowReceiver(run), await deadReceiver(run)];
}

async function hanging(run: BenchRun, bulkSize: number): Promise<ScenarioResult> {
  const none = 'none hangs';
  const measure = (hangingCount: number) => async () => await measureHanging(run, hangingCount, bulkSize);
  const how = bulkSize === 1 ? '' : `, ${bulkSize} at once`;
  return await compare({
    title: `isolation: ${webhookCount} webhooks, ${ratePerSecond} events a second${how}; the healthy ones’ latency`,
    ratioOf: 'p99Ms',
    repeatCount: run.repeatCount,
    variants: [
      { name: none, run: measure(0) },
      { name: '10 of them never answer', against: none, goal, run: measure(10) },
    ],
  });
}

async function measureHanging({ stack, quick }: BenchRun, hangingCount: number, bulkSize: number): Promise<Measured> {
  const webhooks = Array.from({ length: webhookCount }, (_, index) => (index < hangingCount ? '/hang' : '/ok'));
  await using system = await startSystem(stack, { kind: 'redis', concurrency, webhooks });
  await system.startWorker();
  const load = await system.startLoad();
  const offer = { kind: 'offer', ratePerSecond, bulkSize, types: system.types } as const;
  const warmUp = await load.run({ ...offer, seconds: warmUpSeconds, tag: 'warm-up' });
  const measured = await load.run({ ...offer, seconds: quick ? 6 : 20, tag: 'measured' });
  const healthyShare = 1 - hangingCount / webhookCount;
  const healthyCount = Math.round(measured.acceptedCount * healthyShare);
  const accepted = Math.round(warmUp.acceptedCount * healthyShare) + healthyCount;
  await system.received(accepted, lateLimitMs);
  const all = warmUp.acceptedCount + measured.acceptedCount;
  return await healthyFigures(system, { healthyCount, accepted, hangingCount: all - accepted });
}

interface Healthy {
  /** Deliveries of the tag `measured` to receivers that answer. */
  healthyCount: number;
  /** All deliveries to receivers that answer. */
  accepted: number;
  /** Those to receivers that do not. */
  hangingCount: number;
}

async function healthyFigures(system: System, { healthyCount, accepted, hangingCount }: Healthy): Promise<Measured> {
  const { latency } = await system.report({ measured: healthyCount });
  const { receivedCount = 0, p50Ms = Number.NaN, p99Ms = Number.NaN } = latency['measured'] ?? {};
  return {
    figures: { p50Ms, p99Ms, receivedCount, lostCount: healthyCount - receivedCount },
    problems: await problemsOf(system, 'redis', accepted, hangingCount),
  };
}

/** One webhook that answers after 100 ms is healthy: it must get as much as its latency and its room allow. */
async function slowReceiver(run: BenchRun): Promise<ScenarioResult> {
  const bare = 'bare BullMQ + undici, 64 requests at once';
  const count = run.quick ? 2_000 : 6_000;
  const measure = (kind: 'bare' | 'redis') => async () => await measureSlow(run, kind, count);
  return await compare({
    title: `isolation: one webhook that answers after 100 ms, a backlog of ${count}`,
    ratioOf: 'perSecond',
    repeatCount: run.repeatCount,
    variants: [
      { name: bare, run: measure('bare') },
      {
        name: 'Posthorn on Redis',
        against: bare,
        goal: { text: '≥ 500/s', isReached: ({ perSecond = Number.NaN }) => perSecond >= 500 },
        run: measure('redis'),
      },
    ],
  });
}

async function measureSlow({ stack }: BenchRun, kind: 'bare' | 'redis', count: number): Promise<Measured> {
  const plan = { kind, webhooks: ['/after/100'], concurrency: kind === 'bare' ? 64 : concurrencyAlone };
  await using system = await startSystem(stack, plan);
  const load = await system.startLoad();
  const { acceptedCount } = await load.run({ kind: 'backlog', count, types: system.types, tag: 'slow' });
  await system.startWorker();
  await system.received(acceptedCount, 60_000);
  const { distinctCount, spanMs } = await system.report();
  return {
    figures: { perSecond: (distinctCount / spanMs) * 1000 },
    problems: await problemsOf(system, kind, acceptedCount),
  };
}

/** A dead webhook's backlog must not stand in front of the others' first attempts. */
async function deadReceiver(run: BenchRun): Promise<ScenarioResult> {
  const backlogCount = run.quick ? 10_000 : 100_000;
  const none = 'no backlog';
  const variant = (name: string, deadUrl: string, against?: string): Variant => ({
    name,
    ...(against === undefined ? {} : { against, goal }),
    run: async () => await measureBacklog(run, deadUrl, against === undefined ? 0 : backlogCount),
  });
  return await compare({
    title: `isolation: ${backlogCount} waiting deliveries of one dead webhook; the others’ latency at ${ratePerSecond} a second`,
    ratioOf: 'p99Ms',
    repeatCount: Math.min(2, run.repeatCount),
    variants: [
      variant(none, '/hang'),
      variant('waiting for one that hangs', '/hang', none),
      variant('waiting for one that refuses', 'http://127.0.0.1:1/', none),
    ],
  });
}

async function measureBacklog({ stack, quick }: BenchRun, deadUrl: string, backlogCount: number): Promise<Measured> {
  const webhooks = [deadUrl, ...Array.from({ length: 50 }, () => '/ok')];
  await using system = await startSystem(stack, { kind: 'redis', concurrency, webhooks });
  await system.startWorker();
  const load = await system.startLoad();
  const [dead = '', ...healthy] = system.types;
  const offer = { kind: 'offer', ratePerSecond, bulkSize: 1, types: healthy } as const;
  const warmUp = await load.run({ ...offer, seconds: warmUpSeconds, tag: 'warm-up' });
  await system.received(warmUp.acceptedCount, lateLimitMs);
  const backlog = await load.run({ kind: 'backlog', count: backlogCount, types: [dead], tag: 'dead' });
  await setTimeout(2_000); // the worker has met it by now
  const measured = await load.run({ ...offer, seconds: quick ? 5 : 10, tag: 'measured' });
  const healthyCount = measured.acceptedCount;
  const accepted = warmUp.acceptedCount + healthyCount;
  await system.received(accepted, lateLimitMs);
  return await healthyFigures(system, { healthyCount, accepted, hangingCount: backlog.acceptedCount });
}
