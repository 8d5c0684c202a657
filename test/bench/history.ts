import { execute, parse, validate } from 'graphql';
import { cursorOf } from '../../schema/connection.ts';
import { schema } from '../../schema/index.ts';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { newId } from '../../src/store/new-id.ts';
import { createProject } from '../../src/store/projects.ts';
import { createSecretBox } from '../../src/store/secret-box.ts';
import { encryptionKey } from './bench-stack.ts';
import { runCleanupBesideDeliveries } from './cleanup-beside.ts';
import { fillHistory } from './fill-history.ts';
import { historyQueries } from './history-queries.ts';
import { watchForeignCpu } from './machine.ts';
import { median } from './quantile.ts';
import { printTable } from './table.ts';
import type { DocumentNode } from 'graphql';
import type { Client } from 'pg';
import type { SchemaContext } from '../../schema/context.ts';
import type { ProjectId } from '../../src/domain/ids.ts';
import type { Database } from '../../src/store/database.ts';
import type { BenchStack } from './bench-stack.ts';
import type { BenchRun, ScenarioResult } from './compare.ts';
import type { HistoryPlaces } from './fill-history.ts';
import type { HistoryQuery } from './history-queries.ts';

const historyDays = 30;
const dayMs = 86_400_000;
const fillLimitMs = 900_000;
const warmUpCount = 5;
const timedCount = 15;
const ratioMax = 1.5;

/** Whether pages stay as quick when the history grows, and whether removing old history disturbs deliveries. */
export async function runHistory(run: BenchRun): Promise<ScenarioResult[]> {
  return [await comparePages(run), await runCleanupBesideDeliveries(run)];
}

/** A database with that much history, ready to be asked. */
interface History extends AsyncDisposable {
  attemptCount: number;
  client: Client;
  context: SchemaContext;
  places: Record<'hot' | 'cold', Place>;
  projectUuid: string;
}

/** What the queries of a webhook take. */
interface Place {
  webhookUuid: string;
  /** Of the middle of its deliveries. */
  deliveryUuid: string;
}

async function comparePages({ stack, quick }: BenchRun): Promise<ScenarioResult> {
  const sizes = quick ? [20_000, 100_000] : [100_000, 1_000_000, 10_000_000];
  await using open = new AsyncDisposableStack();
  const histories: History[] = [];
  for (const size of sizes) {
    const startedAt = performance.now();
    histories.push(open.use(await openHistory(stack, size)));
    process.stderr.write(
      `history: ${size} attempts made up in ${Math.round((performance.now() - startedAt) / 1000)} s\n`,
    );
  }
  const foreignCpu = await watchForeignCpu();
  const rows = [];
  for (const query of historyQueries) rows.push(await timeQuery(histories, query));
  const smallest = sizeOf(sizes[0] ?? 0);
  const title = `history: pages by number of attempts (warm medians of ${timedCount} in ms; ratio to ${smallest}; goal ≤ ${ratioMax})`;
  printTable(title, rows);
  process.stdout.write(`\nForeign CPU while timing: ${Math.round((await foreignCpu()) * 100)} %.\n`);
  return { title, rows, problems: [] };
}

async function openHistory(stack: BenchStack, attemptCount: number): Promise<History> {
  await using starting = new AsyncDisposableStack();
  const { url } = starting.use(await stack.createDatabase());
  const database = starting.use(openDatabase(url));
  const client = await connectToDatabase(url);
  starting.defer(async () => await client.end());
  const projectId = idFromUuid('project', (await createProject(database, 'Bench')).id);
  const projectUuid = uuidOf(projectId);
  const from = new Date(Date.now() - historyDays * dayMs);
  const plan = { projectId: projectUuid, attemptCount, from, days: historyDays };
  const webhooks = await fillHistory(client, plan, AbortSignal.timeout(fillLimitMs));
  const places = await findPlaces(client, webhooks);
  const context = contextOf(database, projectId);
  const started = starting.move();
  return {
    attemptCount,
    client,
    context,
    places,
    projectUuid,
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

async function findPlaces(client: Client, webhooks: HistoryPlaces): Promise<History['places']> {
  const placeOf = async (webhookUuid: string): Promise<Place> => {
    const { rows } = await client.query<{ id: string }>(
      `select id from deliveries where webhook_id = $1 and id < posthorn_uuid_at(now() - interval '15 days')
       order by id desc limit 1`,
      [webhookUuid],
    );
    if (rows[0] === undefined) throw new Error(`webhook ${webhookUuid} has no history`);
    return { webhookUuid, deliveryUuid: rows[0].id };
  };
  return { hot: await placeOf(webhooks.hotWebhookId), cold: await placeOf(webhooks.coldWebhookId) };
}

async function notMeasured(): Promise<never> {
  throw new Error('this is not measured');
}

/** A context as the gateway makes it for a holder of VIEW_WEBHOOKS. */
function contextOf(database: Database, projectId: ProjectId): SchemaContext {
  return {
    caller: {
      kind: 'API_KEY',
      apiKeyId: newId('apiKey'),
      projectId,
      permissions: new Set(['VIEW_WEBHOOKS']),
      expiresAt: null,
    },
    requestId: 'bench',
    database,
    secretBox: createSecretBox([{ id: 'bench', key: encryptionKey }]),
    feed: createInProcessFeed(),
    emitEvent: createEmitter(database, { maxAttempts: 6 }),
    checkHost: async () => null,
    enqueue: async () => await Promise.resolve(),
    // Nothing here makes credentials or administers.
    credentials: { issueAccessToken: notMeasured, forgetApiKey: () => undefined },
    administration: { retentionDays: null, sweep: notMeasured, retryStuck: notMeasured, cleanup: notMeasured },
    settings: {
      requireHttps: false,
      allowedCidrs: [],
      maxAttempts: 6,
      retryScheduleSeconds: [60],
      attemptTimeoutMs: 10_000,
    },
    onWarning: (message, error) => {
      throw new Error(message, { cause: error });
    },
  };
}

/** Times the query on every history, in turn, as an operation and as SQL. */
async function timeQuery(histories: readonly History[], query: HistoryQuery): Promise<Record<string, string | number>> {
  const document = parse(query.operation);
  const problems = validate(schema, document);
  if (problems.length > 0) throw new Error(`${query.name}: ${problems.map(({ message }) => message).join('; ')}`);
  const asked = histories.map((history) => ({
    size: sizeOf(history.attemptCount),
    api: { run: async () => await runOperation(history, query, document), times: [] as number[] },
    sql: { run: async () => await runSql(history, query), times: [] as number[] },
  }));
  for (let round = 0; round < warmUpCount + timedCount; round += 1) {
    for (const { run, times } of asked.flatMap(({ api, sql }) => [api, sql])) {
      const startedAt = performance.now();
      await run();
      if (round >= warmUpCount) times.push(performance.now() - startedAt);
    }
  }
  return {
    page: query.name,
    ...columnsOf(asked.map(({ size, api, sql }) => ({ size, api: api.times, sql: sql.times }))),
  };
}

/** What a query took on one history, in milliseconds. */
interface Times {
  size: string;
  api: readonly number[];
  sql: readonly number[];
}

/** Medians by size, their ratios to the smallest, and whether the worst of the API's keeps to the goal. */
function columnsOf(times: readonly Times[]): Record<string, string | number> {
  const columns: Record<string, string | number> = {};
  for (const kind of ['api', 'sql'] as const) {
    const smallest = median(times[0]?.[kind] ?? []);
    for (const at of times) columns[`${kind} ${at.size}`] = median(at[kind]);
    for (const at of times.slice(1)) columns[`${kind} ratio ${at.size}`] = median(at[kind]) / smallest;
  }
  const ratios = times.map(({ api }) => median(api) / median(times[0]?.api ?? []));
  return { ...columns, goal: Math.max(...ratios) <= ratioMax ? 'reached' : 'missed' };
}

function sizeOf(attemptCount: number): string {
  return attemptCount >= 1_000_000 ? `${attemptCount / 1_000_000}M` : `${attemptCount / 1_000}k`;
}

async function runOperation(history: History, query: HistoryQuery, document: DocumentNode): Promise<void> {
  const place = history.places[query.webhook];
  const result = await execute({
    schema,
    document,
    contextValue: history.context,
    variableValues: {
      webhook: idFromUuid('webhook', place.webhookUuid),
      delivery: idFromUuid('delivery', place.deliveryUuid),
      after: cursorOf(place.deliveryUuid),
      since: daysAgo(15),
      until: daysAgo(14),
    },
  });
  if (result.errors !== undefined) throw new Error(`${query.name}: ${result.errors.map(String).join('; ')}`);
}

async function runSql({ client, places, projectUuid }: History, query: HistoryQuery): Promise<void> {
  const { webhookUuid, deliveryUuid } = places[query.webhook];
  const [since, until] = [daysAgo(15), daysAgo(14)];
  const known = { project: projectUuid, webhook: webhookUuid, delivery: deliveryUuid, since, until };
  const values = query.uses.map((name) => known[name]);
  const { rowCount } = await client.query({ name: query.name, text: query.sql, values });
  if ((rowCount === 0) !== (query.isEmpty ?? false)) throw new Error(`${query.name} found ${rowCount} rows`);
}

function daysAgo(days: number): string {
  return new Date(Date.now() - days * dayMs).toISOString();
}
