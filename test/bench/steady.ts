import { createClient } from 'graphql-ws';
import { Redis } from 'ioredis';
import { WebSocket } from 'ws';
import { residentMb } from './soak.ts';
import { problemsOf, startSystem } from './system.ts';
import { printTable, shown } from './table.ts';
import type { BenchProcess } from './bench-process.ts';
import type { BenchRun, ScenarioResult } from './compare.ts';
import type { LoadProcess, System } from './system.ts';
import type { UsageReport } from './usage.ts';

// A service as a team runs it: a gateway, a worker, subscribers, at half of what they can carry, for half an hour.

const webhookCount = 20;
const subscriberCount = 3;
const callerCount = 32;
const minutesByDefault = 30;
const quickMinutes = 2;
const capacitySeconds = 30;
const drainLimitMs = 120_000;

/** What is looked at after each minute; everything but the rate must stay flat. */
interface MinuteRow {
  minute: number;
  eventsPerSecond: number;
  emitP99Ms: number;
  workerRssMb: number;
  gatewayRssMb: number;
  workerLoopP99Ms: number;
  gatewayLoopP99Ms: number;
  redisMb: number;
  postgresConnections: number;
}

/**
 * Whether a gateway and a worker stay as they are over half an hour of steady load over GraphQL, with subscribers to the
 * feed. The rate is half of what the same processes carried in a closed loop right before, unless `--rate` says another; each
 * minute's figures are told as they come, so that an early end leaves them.
 */
export async function runSteady({
  stack,
  quick,
  ratePerSecond: given,
  minutes: asked,
}: BenchRun): Promise<ScenarioResult[]> {
  await using system = await startSystem(stack, {
    kind: 'redis',
    concurrency: 512,
    webhooks: Array(webhookCount).fill('/ok'),
  });
  const worker = await system.startWorker();
  const gateway = await system.startGateway();
  await using load = await system.startLoad('graphql');
  using feed = await subscribe(gateway.url, system.apiKey);
  let accepted = 0;
  const ratePerSecond = given ?? (await measureCapacity(load, system.types, (count) => (accepted += count))) / 2;
  const minutes = asked ?? (quick ? quickMinutes : minutesByDefault);
  const title = `steady: ${shown(ratePerSecond)} events a second over GraphQL for ${minutes} minutes`;
  const rows: MinuteRow[] = [];
  await using redis = openRedis(stack.redisUrl);
  for (let minute = 1; minute <= minutes; minute += 1) {
    const offer = { kind: 'offer', bulkSize: 1, seconds: 60, types: system.types, tag: 'steady' } as const;
    const { acceptedCount, eventCount, seconds, emitP99Ms } = await load.run({ ...offer, ratePerSecond });
    accepted += acceptedCount;
    const row = { minute, eventsPerSecond: eventCount / seconds, emitP99Ms };
    rows.push({ ...row, ...(await lookAt({ system, worker, gateway, redis })) });
    process.stderr.write(`${title}: ${JSON.stringify(rows.at(-1))}\n`);
  }
  await system.received(accepted, drainLimitMs);
  printTable(title, [...rows.map((row) => ({ ...row })), growthOf(rows)]);
  const problems = [...(await problemsOf(system, 'redis', accepted)), ...(await feed.problems(accepted))];
  return [{ title, rows, problems }];
}

/** Events a second that callers get through who each wait for the answer. */
async function measureCapacity(
  load: LoadProcess,
  types: readonly string[],
  onAccepted: (count: number) => void,
): Promise<number> {
  const loop = { kind: 'loop', callerCount, bulkSize: 1, seconds: capacitySeconds, types, tag: 'capacity' } as const;
  const { acceptedCount, eventCount, seconds } = await load.run(loop);
  onAccepted(acceptedCount);
  return eventCount / seconds;
}

async function lookAt(running: {
  system: System;
  worker: BenchProcess;
  gateway: BenchProcess;
  redis: Redis;
}): Promise<Omit<MinuteRow, 'minute' | 'eventsPerSecond' | 'emitP99Ms'>> {
  const { system, worker, gateway, redis } = running;
  const { rows } = await system.database.upkeep.query<{ count: number }>(
    'select count(*)::int from pg_stat_activity where datname = current_database()',
  );
  return {
    workerRssMb: await residentMb(worker.pid),
    gatewayRssMb: await residentMb(gateway.pid),
    workerLoopP99Ms: await loopDelayOf(worker),
    gatewayLoopP99Ms: await loopDelayOf(gateway),
    redisMb: Number(/used_memory:(\d+)/.exec(await redis.info('memory'))?.[1]) / 1e6,
    postgresConnections: rows[0]?.count ?? Number.NaN,
  };
}

async function loopDelayOf(process: BenchProcess): Promise<number> {
  process.tell({ kind: 'usage' });
  return (await process.hear<UsageReport>('usage')).loopDelayP99Ms;
}

/** The last third of the minutes as a ratio to the third before it. */
function growthOf(rows: readonly MinuteRow[]): Record<string, string | number> {
  const third = Math.max(1, Math.floor(rows.length / 3));
  const [before, last] = [rows.slice(-2 * third, -third), rows.slice(-third)];
  const mean = (part: readonly MinuteRow[], name: keyof MinuteRow): number =>
    part.reduce((sum, row) => sum + row[name], 0) / part.length;
  const names = Object.keys(rows[0] ?? {}).filter((name): name is keyof MinuteRow => name !== 'minute');
  return {
    minute: 'last third ÷ the one before',
    ...Object.fromEntries(names.map((name) => [name, mean(last, name) / mean(before, name)])),
  };
}

/** Subscribers to the whole feed from this place on, each of whom must get two items of every delivery, however soon it comes. */
async function subscribe(
  url: string,
  apiKey: string,
): Promise<{ problems: (acceptedCount: number) => Promise<string[]> } & Disposable> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}` },
    body: JSON.stringify({ query: '{ feedCursor }' }),
  });
  const { data: start } = (await response.json()) as { data: { feedCursor: string } };
  const client = createClient({
    url: `${url.replace(/^http/, 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${apiKey}` },
    retryAttempts: 0,
    lazy: false,
  });
  const counts = Array.from({ length: subscriberCount }, (_, index) => {
    const seen = { count: 0, error: '' };
    client.subscribe(
      {
        query: `subscription S${index}($after: String) { deliveryFeed(after: $after) { cursor change delivery { id status } } }`,
        variables: { after: start.feedCursor },
      },
      { next: () => (seen.count += 1), error: (error) => (seen.error = JSON.stringify(error)), complete: () => {} },
    );
    return seen;
  });
  return {
    problems: async (acceptedCount) => {
      const until = performance.now() + 20_000;
      const wrong = (): string[] =>
        counts
          .filter(({ count, error }) => count !== 2 * acceptedCount || error !== '')
          .map(({ count, error }) => `a subscriber got ${count} items of ${2 * acceptedCount} ${error}`);
      while (wrong().length > 0 && performance.now() < until) await new Promise((resolve) => setTimeout(resolve, 100));
      return wrong();
    },
    [Symbol.dispose]: () => void client.dispose(),
  };
}

function openRedis(url: string): Redis & AsyncDisposable {
  const redis = new Redis(url);
  return Object.assign(redis, { [Symbol.asyncDispose]: async () => void (await redis.quit()) });
}
