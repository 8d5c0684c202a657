import { setTimeout } from 'node:timers/promises';
import { compare } from './compare.ts';
import { cpuOfTreeMs } from './machine.ts';
import { problemsOf, startSystem } from './system.ts';
import type { Database } from '../../src/store/database.ts';
import type { BenchRun, Measured, ScenarioResult } from './compare.ts';
import type { System, SystemPlan } from './system.ts';
import type { UsageReport } from './usage.ts';

/** Requests under way at once, in the bare loop as in Posthorn's worker. */
const concurrency = 200;
/** So that no limit per webhook is what is measured. */
const webhookCount = 10;
const drainLimitMs = 120_000;

/**
 * How fast a worker delivers a backlog that another process emitted, and what each delivery costs; beside it a bare
 * BullMQ + undici loop without a database.
 */
export async function runDeliver(run: BenchRun): Promise<ScenarioResult[]> {
  const count = run.quick ? 5_000 : 30_000;
  const ceiling = 'bare BullMQ + undici, no database';
  const drain = (kind: SystemPlan['kind']) => async () => await drainBacklog(run, kind, count);
  const comparison = await compare({
    title: `deliver: a backlog of ${count}, ${concurrency} requests at once`,
    ratioOf: 'perSecond',
    repeatCount: run.repeatCount,
    variants: [
      { name: ceiling, run: drain('bare') },
      { name: 'Posthorn on Redis', against: ceiling, run: drain('redis') },
      { name: 'Posthorn embedded', against: ceiling, run: drain('embedded') },
    ],
  });
  return [comparison];
}

async function drainBacklog({ stack }: BenchRun, kind: SystemPlan['kind'], count: number): Promise<Measured> {
  await using system = await startSystem(stack, { kind, concurrency, webhooks: Array(webhookCount).fill('/ok') });
  const accepted = await emitBacklog(system, count);
  const postgresBeforeMs = await cpuOfTreeMs(stack.postgresPid);
  const redisBeforeMs = await cpuOfTreeMs(stack.redisPid);
  const worker = await system.startWorker();
  await system.received(accepted, drainLimitMs);
  worker.tell({ kind: 'usage' });
  const usage = await worker.hear<UsageReport>('usage');
  const postgresMs = (await cpuOfTreeMs(stack.postgresPid)) - postgresBeforeMs;
  const redisMs = (await cpuOfTreeMs(stack.redisPid)) - redisBeforeMs;
  const { distinctCount, spanMs } = await system.report();
  const perDelivery = (ms: number): number => (ms * 1000) / distinctCount;
  return {
    figures: {
      perSecond: (distinctCount / spanMs) * 1000,
      workerCpuMicros: perDelivery(usage.cpuMs),
      postgresCpuMicros: perDelivery(postgresMs),
      redisCpuMicros: perDelivery(redisMs),
      workerRssMb: usage.rssMaxMb,
      ...(kind === 'bare' ? {} : { sequentialReads: await countSequentialReads(system.database) }),
    },
    problems: await problemsOf(system, kind, accepted),
  };
}

/** Emits from a process that has ended when this resolves, so that no worker holds what was emitted. */
async function emitBacklog(system: System, count: number): Promise<number> {
  await using load = await system.startLoad();
  const { acceptedCount } = await load.run({ kind: 'backlog', count, types: system.types, tag: 'backlog' });
  return acceptedCount;
}

/** Rows that were read by scans of whole tables: thousands of times the deliveries when plans collapse. */
async function countSequentialReads({ pipeline }: Database): Promise<number> {
  await setTimeout(1_500); // sessions report their scans a second after their last statement
  const { rows } = await pipeline.query<{ count: number }>(
    `select coalesce(sum(seq_tup_read), 0)::float8 as count from pg_stat_user_tables
     where schemaname = 'public' and relname in ('events', 'deliveries', 'attempts')`,
  );
  return rows[0]?.count ?? Number.NaN;
}
