import { setTimeout } from 'node:timers/promises';
import { createSecretBox } from '../../src/store/secret-box.ts';
import { createApiKey } from '../../src/store/api-keys.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { ledger } from '../../src/store/ledger.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createProject } from '../../src/store/projects.ts';
import { createWebhook } from '../../src/store/webhooks.ts';
import { startBenchProcess } from './bench-process.ts';
import { encryptionKey } from './bench-stack.ts';
import type { ProjectId } from '../../src/domain/ids.ts';
import type { Database } from '../../src/store/database.ts';
import type { BenchProcess } from './bench-process.ts';
import type { BenchStack } from './bench-stack.ts';
import type { EmitterTarget } from './emitters.ts';
import type { Backlog, LoadResult, Loop, Offer } from './load-process.ts';
import type { LatencyReport, ReceiverReport } from './receiver-process.ts';
import { testActor } from '../support/test-actor.ts';

/** What is to run. */
export interface SystemPlan {
  /** Posthorn with its queue and feed on Redis, embedded (queue on Postgres, feed in process), or the bare loop. */
  kind: 'redis' | 'embedded' | 'bare';
  /** Where each webhook points: a path of the receiver (`/ok`, `/hang`, `/after/100`), or a whole URL. */
  webhooks: readonly string[];
  /** Requests under way at once in the worker. */
  concurrency: number;
}

/** A system on an empty database of its own: a receiver, and what the scenario starts. */
export interface System extends AsyncDisposable {
  database: Database;
  databaseUrl: string;
  projectId: ProjectId;
  /** Emits and reads. */
  apiKey: string;
  /** Event types, one per webhook, in their order: an event of that type goes to that webhook only. */
  types: readonly string[];
  /** Starts the worker, or the bare loop's. Everything that waits is delivered from here on. */
  startWorker: () => Promise<BenchProcess>;
  /** Starts a gateway of its own process, which `startLoad('graphql')` then emits to. */
  startGateway: () => Promise<BenchProcess & { url: string }>;
  /** Starts what emits: as this system does, or in another way. */
  startLoad: (kind?: EmitterTarget['kind']) => Promise<LoadProcess>;
  /** Whether the receiver got that many distinct deliveries within the limit. */
  received: (count: number, limitMs: number) => Promise<boolean>;
  /** What the receiver has got; `expected` says how many deliveries each tag has. */
  report: (expected?: Record<string, number>) => Promise<ReceiverReport>;
}

/** A process that emits. */
export interface LoadProcess extends AsyncDisposable {
  run: (load: Backlog | Offer | Loop) => Promise<LoadResult>;
}

/** Starts a system; its disposal kills its processes and drops its database. */
export async function startSystem(stack: BenchStack, plan: SystemPlan): Promise<System> {
  await using starting = new AsyncDisposableStack();
  const { url: databaseUrl } = starting.use(await stack.createDatabase());
  const database = starting.use(openDatabase(databaseUrl));
  const receiver = starting.use(startBenchProcess('receiver-process.ts'));
  const { ports } = await receiver.hear<{ kind: 'listening'; ports: number[] }>('listening');
  const origins = ports.map((port) => `http://127.0.0.1:${port}`);
  const project = await addProject(database, plan, origins);
  const redisUrl = plan.kind === 'embedded' ? '' : stack.redisUrl;
  const serviceEnv = settingsOf(databaseUrl, redisUrl, plan.concurrency);
  let graphqlUrl = '';
  const started = starting.move();

  const startProcess = async (file: string, env: Record<string, string>): Promise<BenchProcess & { url: string }> => {
    const child = started.use(startBenchProcess(file, env));
    const { url = '' } = await child.hear<{ kind: 'ready'; url?: string }>('ready', 30_000);
    return { ...child, url };
  };
  return {
    database,
    databaseUrl,
    projectId: project.projectId,
    apiKey: project.apiKey,
    types: project.types,
    startWorker: async () =>
      plan.kind === 'bare'
        ? await startProcess('bare-process.ts', {
            BENCH_REDIS: redisUrl,
            BENCH_RECEIVER: origins[0] ?? '',
            BENCH_CONCURRENCY: String(plan.concurrency),
          })
        : await startProcess('service-process.ts', { ...serviceEnv, BENCH_ROLE: 'worker' }),
    startGateway: async () => {
      const gateway = await startProcess('service-process.ts', { ...serviceEnv, BENCH_ROLE: 'gateway' });
      graphqlUrl = `${gateway.url}/graphql`;
      return gateway;
    },
    startLoad: async (over) => {
      const kind = over ?? (plan.kind === 'bare' ? 'bare' : 'posthorn');
      const { projectId, apiKey } = project;
      const target: EmitterTarget = { kind, databaseUrl, redisUrl, projectId, graphqlUrl, apiKey };
      return loadOf(await startProcess('load-process.ts', { BENCH_TARGET: JSON.stringify(target) }));
    },
    received: async (count, limitMs) => {
      receiver.tell({ kind: 'expect', count } as { kind: string });
      return await receiver.hear(`received ${count}`, limitMs).then(
        () => true,
        () => false,
      );
    },
    report: async (expected = {}) => {
      receiver.tell({ kind: 'report', expected } as { kind: string });
      const report = await receiver.hear<ReceiverReport>('report', 30_000);
      return { ...report, latency: withInfinities(report.latency) };
    },
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

interface BenchProject {
  projectId: ProjectId;
  apiKey: string;
  types: string[];
}

/** The project with its webhooks; the bare loop has none, and takes the path for the type. */
async function addProject(
  database: Database,
  { kind, webhooks }: SystemPlan,
  origins: readonly string[],
): Promise<BenchProject> {
  const projectId = idFromUuid('project', (await createProject(database, 'Bench')).id);
  const { key: apiKey } = await createApiKey(
    database,
    projectId,
    {
      name: 'Bench',
      permissions: ['EMIT_EVENTS', 'VIEW_WEBHOOKS'],
      expiresAt: null,
    },
    testActor,
  );
  if (kind === 'bare') return { projectId, apiKey, types: [...webhooks] };
  const secretBox = createSecretBox([{ id: 'bench', key: encryptionKey }]);
  const types = webhooks.map((_, index) => `bench.w${index}`);
  for (const [index, place] of webhooks.entries()) {
    await createWebhook(database, secretBox, projectId, {
      name: 'Bench',
      description: null,
      // Those that hang have origins of their own, as customers do.
      url: new URL(place, origins[place === '/hang' ? 1 + (index % (origins.length - 1)) : 0]).href,
      eventTypes: [`bench.w${index}`],
      headers: [],
      actor: testActor,
      signatureStyle: 'STANDARD_WEBHOOKS',
      signAsymmetrically: false,
      maxAttempts: null,
      retrySchedule: [],
      rateLimitPerSecond: null,
    });
  }
  return { projectId, apiKey, types };
}

/** Everything as it is by default, but what a benchmark on loopback needs. */
export function settingsOf(databaseUrl: string, redisUrl: string, concurrency: number): Record<string, string> {
  return {
    DATABASE_URL: databaseUrl,
    REDIS_URI_DURABLE: redisUrl,
    REDIS_URI_VOLATILE: redisUrl,
    POSTHORN_ENCRYPTION_KEYS: `bench:${encryptionKey.toString('base64')}`,
    WEBHOOK_REQUIRE_HTTPS: 'false',
    WEBHOOK_ALLOWED_CIDRS: '127.0.0.0/8',
    WORKER_MAX_IN_FLIGHT: String(concurrency),
    WEBHOOK_TIMEOUT: '10',
    HOST: '127.0.0.1',
    PORT: '0',
  };
}

function loadOf(child: BenchProcess): LoadProcess {
  return {
    run: async (load) => {
      child.tell(load);
      return await child.hear<LoadResult>('emitted', 180_000);
    },
    [Symbol.asyncDispose]: async () => await child[Symbol.asyncDispose](),
  };
}

/** What travels as JSON between processes turns Infinity into null. */
function withInfinities(latency: Record<string, LatencyReport>): Record<string, LatencyReport> {
  return Object.fromEntries(
    Object.entries(latency).map(([tag, { receivedCount, ...times }]): [string, LatencyReport] => [
      tag,
      {
        receivedCount,
        p50Ms: times.p50Ms ?? Number.POSITIVE_INFINITY,
        p99Ms: times.p99Ms ?? Number.POSITIVE_INFINITY,
        maxMs: times.maxMs ?? Number.POSITIVE_INFINITY,
      },
    ]),
  );
}

const recordedLimitMs = 20_000;

/**
 * Says what is wrong unless the receiver's requests, its distinct deliveries, the accepted ones, the recorded attempts and
 * the deliveries DELIVERED are one number. Waits up to 20 s for the last records; the bare loop records nothing.
 * `hangingCount` deliveries more were accepted for receivers that never answer, and may stand anywhere.
 */
export async function problemsOf(
  system: System,
  kind: SystemPlan['kind'],
  acceptedCount: number,
  hangingCount = 0,
): Promise<string[]> {
  const until = performance.now() + recordedLimitMs;
  for (;;) {
    const { requestCount, distinctCount } = await system.report();
    const counts = { requests: requestCount, distinct: distinctCount };
    const recorded = kind === 'bare' ? {} : await countRecorded(system, hangingCount);
    const problems = differing(acceptedCount, { ...counts, ...recorded });
    if (problems.length === 0 || performance.now() > until) return problems;
    await setTimeout(100);
  }
}

async function countRecorded(system: System, hangingCount: number): Promise<Record<string, number>> {
  const deliveries = await ledger(system.database, system.projectId);
  const attempts = await countSuccesses(system.database);
  return { attempts, delivered: deliveries.counts.DELIVERED, stored: deliveries.accepted - hangingCount };
}

/** Attempts that succeeded; those to a receiver that hangs never do. */
async function countSuccesses({ pipeline }: Database): Promise<number> {
  const { rows } = await pipeline.query<{ count: number }>(
    `select count(*)::int from attempts where outcome = 'SUCCEEDED'`,
  );
  return rows[0]?.count ?? 0;
}

function differing(acceptedCount: number, counts: Record<string, number>): string[] {
  if (Object.values(counts).every((count) => count === acceptedCount)) return [];
  return [
    `accepted ${acceptedCount}, but ${Object.entries(counts)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ')}`,
  ];
}
