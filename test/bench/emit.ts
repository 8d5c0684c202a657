import { startDeliveryConsumer } from '../../src/queue.ts';
import { endsWithin } from '../../src/time-limit.ts';
import { compare } from './compare.ts';
import { startSystem } from './system.ts';
import type { BenchRun, Goal, Measured, ScenarioResult, Variant } from './compare.ts';
import type { EmitterTarget } from './emitters.ts';
import type { System } from './system.ts';

const warmUpSeconds = 1;
const drainLimitMs = 60_000;

/** How callers emit: `callerCount` at once, each `bulkSize` events at once. */
interface Callers {
  callerCount: number;
  bulkSize: number;
}

/** How many events a gateway's process can store and enqueue, with no worker; beside it the same rows and jobs, bare. */
export async function runEmit(run: BenchRun): Promise<ScenarioResult[]> {
  const together = 'bare SQL and queue.add, one statement for all';
  const each = 'bare SQL and queue.add, a statement per event';
  const variant = (name: string, kind: EmitterTarget['kind'], callers: Callers): Variant => ({
    name,
    run: async () => await measureEmits(run, kind, callers),
  });
  const scenario = async (title: string, variants: Variant[]): Promise<ScenarioResult> =>
    await compare({ title, ratioOf: 'eventsPerSecond', repeatCount: run.repeatCount, variants });

  const bulk: Callers = { callerCount: 1, bulkSize: 100 };
  const many: Callers = { callerCount: 64, bulkSize: 1 };
  const one: Callers = { callerCount: 1, bulkSize: 1 };
  return [
    await scenario('emit: 100 at once, one such batch at a time', [
      variant(together, 'sql-together', bulk),
      { ...variant('Posthorn', 'posthorn', bulk), against: together, goal: atLeast(15_000) },
      { ...variant('Posthorn, 100 per emitEvents over GraphQL', 'graphql-bulk', bulk), against: together },
    ]),
    await scenario('emit: 64 callers, one event each', [
      variant(together, 'sql-together', many),
      { ...variant(each, 'sql-each', many), against: together },
      { ...variant('Posthorn', 'posthorn', many), against: together, goal: atLeast(6_000) },
      { ...variant('Posthorn, GraphQL over HTTP', 'graphql', many), against: together },
    ]),
    await scenario('emit: one caller, one event at a time', [
      variant(each, 'sql-each', one),
      { ...variant('Posthorn', 'posthorn', one), against: each },
    ]),
  ];
}

function atLeast(eventsPerSecond: number): Goal {
  return {
    text: `≥ ${eventsPerSecond}/s`,
    isReached: (figures) => (figures['eventsPerSecond'] ?? Number.NaN) >= eventsPerSecond,
  };
}

async function measureEmits(run: BenchRun, kind: EmitterTarget['kind'], callers: Callers): Promise<Measured> {
  await using system = await startSystem(run.stack, { kind: 'redis', concurrency: 1, webhooks: ['/ok'] });
  if (kind === 'graphql' || kind === 'graphql-bulk') await system.startGateway();
  const load = await system.startLoad(kind);
  const loop = { kind: 'loop', ...callers, types: system.types, tag: 'emit' } as const;
  const warmUp = await load.run({ ...loop, seconds: warmUpSeconds });
  const measured = await load.run({ ...loop, seconds: run.quick ? 1 : 3 });
  const accepted = warmUp.acceptedCount + measured.acceptedCount;
  return {
    figures: {
      eventsPerSecond: measured.eventCount / measured.seconds,
      p50Ms: measured.emitP50Ms,
      p99Ms: measured.emitP99Ms,
    },
    problems: await problemsOfEmits(system, run, kind.startsWith('sql') ? null : accepted, accepted),
  };
}

/** Says what is wrong unless there is a row of events, a row of deliveries and a place in a job for each that was accepted. */
async function problemsOfEmits(
  system: System,
  { stack }: BenchRun,
  inJobsCount: number | null,
  acceptedCount: number,
): Promise<string[]> {
  const { rows } = await system.database.pipeline.query<{ events: number; deliveries: number }>(
    'select (select count(*)::int from events) as events, (select count(*)::int from deliveries) as deliveries',
  );
  const [{ events, deliveries } = { events: 0, deliveries: 0 }] = rows;
  const inJobs = inJobsCount === null ? acceptedCount : await countInJobs(stack.redisUrl, inJobsCount);
  if ([events, deliveries, inJobs].every((count) => count === acceptedCount)) return [];
  return [`accepted ${acceptedCount}, but ${events} events, ${deliveries} deliveries, ${inJobs} in jobs`];
}

/** Takes all jobs and gives how many deliveries they carried; goes on until it is as many as expected, for a while. */
async function countInJobs(redisUrl: string, expectedCount: number): Promise<number> {
  let count = 0;
  const all = Promise.withResolvers<null>();
  await using _consumer = await startDeliveryConsumer(
    { kind: 'redis', url: redisUrl },
    {
      jobConcurrency: 50,
      onError: all.reject,
      handle: async (deliveries) => {
        count += deliveries.length;
        if (count >= expectedCount) all.resolve(null);
        await Promise.resolve();
      },
    },
  );
  await endsWithin(drainLimitMs, all.promise);
  return count;
}
