import { setTimeout as delay } from 'node:timers/promises';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import { startBenchProcess } from './bench-process.ts';
import { clockMs } from './clock.ts';
import { compare } from './compare.ts';
import { entryOf, feedProjectId } from './feed-entries.ts';
import { cpuOfTreeMs } from './machine.ts';
import type { BenchProcess } from './bench-process.ts';
import type { BenchRun, Goal, Measured, ScenarioResult, Variant } from './compare.ts';
import type { FeedClientsReport } from './feed-clients-process.ts';
import type { FeedServerPlan } from './feed-server-process.ts';

const raw = 'raw ws, one string';
const stock = 'stock Yoga + graphql-ws';
const posthorn = 'Posthorn';
const stepLimitMs = 60_000;
const watchedBy = 1_000;
const ratePerSecond = 500;
/** Subscribers that are there before memory is measured: the first ones pay for compiled code, not for themselves. */
const warmUpCount = 500;
const settleMs = 1_000;

/** A server and its subscribers. */
interface Watched extends AsyncDisposable {
  server: BenchProcess;
  clients: BenchProcess;
}

/** Frames to identical subscriptions, what one item takes to a thousand of them, and what an idle one costs. */
export async function runFeed(run: BenchRun): Promise<ScenarioResult[]> {
  const text = await sampleMessage();
  const counts = run.quick ? [1, 100, 1_000] : [1, 10, 100, 1_000];
  const results: ScenarioResult[] = [];
  for (const count of counts) results.push(await compareFrames(run, count, text));
  results.push(await latencyOf(run), await memoryOf(run, text));
  return results;
}

async function compareFrames(run: BenchRun, subscriberCount: number, text: string): Promise<ScenarioResult> {
  const frames = (kind: FeedServerPlan['kind']) => async () => await measureFrames(run, kind, subscriberCount, text);
  const goal: Goal = { text: '≥ raw ws', isReached: (_figures, ratio) => ratio >= 1 };
  const more: Goal = { text: '≥ 5 × stock', isReached: (_figures, ratio) => ratio <= 1 / 5 };
  const judged = subscriberCount >= 100;
  return await compare({
    title: `feed: frames to ${subscriberCount} identical subscriptions`,
    ratioOf: 'framesPerSecond',
    repeatCount: run.repeatCount,
    variants: [
      { name: raw, run: frames('raw') },
      { name: posthorn, against: raw, ...(judged && { goal }), run: frames('posthorn') },
      { name: stock, against: posthorn, ...(judged && { goal: more }), run: frames('stock') },
    ],
  });
}

/** Publishes in steps, of which two are under way, for some seconds. */
async function measureFrames(
  { quick }: BenchRun,
  kind: FeedServerPlan['kind'],
  subscriberCount: number,
  text: string,
): Promise<Measured> {
  await using watched = await watch({ kind, redisUrl: '', text }, subscriberCount);
  const { server, clients } = watched;
  const step = Math.max(50, Math.min(500, Math.floor(50_000 / subscriberCount)));
  const publish = (): void => server.tell({ kind: 'publish', count: step } as { kind: string });
  const reached = async (count: number): Promise<void> => {
    clients.tell({ kind: 'expect', count } as { kind: string });
    await clients.hear(`reached ${count}`, stepLimitMs);
  };
  publish();
  await reached(step); // warm
  const cpuBeforeMs = await cpuOfTreeMs(server.pid);
  const startedAt = clockMs();
  const until = startedAt + (quick ? 1_500 : 4_000);
  publish();
  let published = 2 * step;
  while (clockMs() < until) {
    publish();
    published += step;
    await reached(published - step);
  }
  await reached(published);
  const seconds = (clockMs() - startedAt) / 1000;
  const frameCount = (published - step) * subscriberCount;
  const cpuUsPerFrame = (1000 * ((await cpuOfTreeMs(server.pid)) - cpuBeforeMs)) / frameCount;
  const { problems } = await reportOf(clients);
  return { figures: { framesPerSecond: frameCount / seconds, cpuUsPerFrame }, problems };
}

async function latencyOf(run: BenchRun): Promise<ScenarioResult> {
  return await compare({
    title: `feed: ${ratePerSecond} items a second to ${watchedBy} subscriptions, from publishing to the frame`,
    ratioOf: 'p99Ms',
    repeatCount: run.repeatCount,
    variants: [
      {
        name: `${posthorn}, feed on Redis`,
        goal: { text: 'p99 < 100 ms', isReached: ({ p99Ms = Number.NaN }) => p99Ms < 100 },
        run: async () => await measureLatency(run),
      },
    ],
  });
}

async function measureLatency({ stack, quick }: BenchRun): Promise<Measured> {
  await using database = await stack.createDatabase(); // empties Redis
  void database;
  await using watched = await watch({ kind: 'posthorn', redisUrl: stack.redisUrl, text: '' }, watchedBy);
  const warmUp = await offer(stack.redisUrl, 1, watched.clients, 0);
  const cpuBeforeMs = await cpuOfTreeMs(watched.server.pid);
  const seconds = quick ? 4 : 15;
  const published = await offer(stack.redisUrl, seconds, watched.clients, warmUp);
  const serverCpuCores = ((await cpuOfTreeMs(watched.server.pid)) - cpuBeforeMs) / 1000 / seconds;
  const { p50Ms, p99Ms, readCount, problems } = await reportOf(watched.clients);
  const wanted = (published - warmUp) * Math.ceil(watchedBy / 50);
  const missed = readCount === wanted ? [] : [`${readCount} of ${wanted} messages were read`];
  return { figures: { p50Ms, p99Ms, serverCpuCores }, problems: [...problems, ...missed] };
}

/** Publishes at the rate (an open loop) and gives how many items there have been in all, when everyone has them. */
async function offer(redisUrl: string, seconds: number, clients: BenchProcess, before: number): Promise<number> {
  await using feed = await startRedisFeed({ url: redisUrl, onError: () => undefined });
  const count = ratePerSecond * seconds;
  const startedAt = clockMs();
  const publishing: Promise<void>[] = [];
  await reportOf(clients);
  for (let index = 0; index < count; index += 1) {
    const dueAt = startedAt + (index * 1000) / ratePerSecond;
    while (clockMs() < dueAt) await delay(1);
    publishing.push(feed.publish(feedProjectId, [entryOf(clockMs())]));
  }
  await Promise.all(publishing);
  clients.tell({ kind: 'expect', count: before + count } as { kind: string });
  await clients.hear(`reached ${before + count}`, stepLimitMs);
  return before + count;
}

async function memoryOf(run: BenchRun, text: string): Promise<ScenarioResult> {
  const memory = (name: string, kind: FeedServerPlan['kind'], rest: Partial<Variant> = {}): Variant => ({
    name,
    ...rest,
    run: async () => await measureMemory(kind, text),
  });
  return await compare({
    title: `feed: memory of one of ${watchedBy} idle subscribers`,
    ratioOf: 'idleKib',
    repeatCount: run.repeatCount,
    variants: [
      memory(raw, 'raw'),
      memory(posthorn, 'posthorn', {
        against: raw,
        goal: { text: '≤ 40 KiB', isReached: ({ idleKib = Number.NaN }) => idleKib <= 40 },
      }),
      memory(stock, 'stock', { against: raw }),
    ],
  });
}

async function measureMemory(kind: FeedServerPlan['kind'], text: string): Promise<Measured> {
  await using watched = await watch({ kind, redisUrl: '', text }, warmUpCount);
  const { server, clients } = watched;
  const before = await settledMemory(server);
  await connect(clients, watchedBy);
  const after = await settledMemory(server);
  const { problems } = await reportOf(clients);
  const kibOf = (name: 'rssBytes' | 'heapBytes'): number => (after[name] - before[name]) / 1024 / watchedBy;
  return { figures: { idleKib: kibOf('rssBytes'), ofItHeapKib: kibOf('heapBytes') }, problems };
}

interface MemoryReport {
  kind: 'memory';
  rssBytes: number;
  heapBytes: number;
}

/** What the server takes after its garbage was collected. */
async function settledMemory(server: BenchProcess): Promise<MemoryReport> {
  await delay(settleMs);
  server.tell({ kind: 'memory' });
  return await server.hear<MemoryReport>('memory', stepLimitMs);
}

async function watch(plan: FeedServerPlan, subscriberCount: number): Promise<Watched> {
  await using starting = new AsyncDisposableStack();
  const server = starting.use(startBenchProcess('feed-server-process.ts', { BENCH_FEED: JSON.stringify(plan) }));
  const { port, cursor } = await server.hear<{ kind: 'ready'; port: number; cursor: string }>('ready', stepLimitMs);
  const env = { BENCH_KIND: plan.kind, BENCH_PORT: String(port), BENCH_AFTER: cursor };
  const clients = starting.use(startBenchProcess('feed-clients-process.ts', env));
  await clients.hear('ready', stepLimitMs);
  await connect(clients, subscriberCount);
  await delay(settleMs); // the last of them have asked, and begin
  const started = starting.move();
  return { server, clients, [Symbol.asyncDispose]: async () => await started.disposeAsync() };
}

async function connect(clients: BenchProcess, count: number): Promise<void> {
  clients.tell({ kind: 'connect', count } as { kind: string });
  await clients.hear('connected', stepLimitMs);
}

async function reportOf(clients: BenchProcess): Promise<FeedClientsReport> {
  clients.tell({ kind: 'report' });
  return await clients.hear<FeedClientsReport>('report', stepLimitMs);
}

/** A message as Posthorn sends it, for the bare server to send as it is. */
async function sampleMessage(): Promise<string> {
  await using watched = await watch({ kind: 'posthorn', redisUrl: '', text: '' }, 1);
  watched.server.tell({ kind: 'publish', count: 1 } as { kind: string });
  watched.clients.tell({ kind: 'expect', count: 1 } as { kind: string });
  await watched.clients.hear('reached 1', stepLimitMs);
  return (await reportOf(watched.clients)).sample;
}
