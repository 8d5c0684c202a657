import { testActor } from '../support/test-actor.ts';
import { Client as HttpClient } from 'undici';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { createApiKey } from '../../src/store/api-keys.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createProject } from '../../src/store/projects.ts';
import { startBenchProcess } from './bench-process.ts';
import { compare } from './compare.ts';
import { fillHistory } from './fill-history.ts';
import { quantile } from './quantile.ts';
import { settingsOf } from './system.ts';
import type { Client } from 'pg';
import type { BenchRun, Goal, Measured, ScenarioResult } from './compare.ts';

const pageRows = 50;
const warmUpCount = 100;
const historyDays = 30;
const fillLimitMs = 900_000;

const goal: Goal = { text: '≤ 6 × the bare query', isReached: (_figures, ratio) => ratio <= 6 };

const page = `query Page { deliveries(first: ${pageRows}) {
  nodes { id status attemptCount createdAt finishedAt event { id type } webhook { id name } }
  pageInfo { hasNextPage endCursor }
} }`;
const withLastAttempt = page.replace('webhook {', 'lastAttempt { number responseStatus durationMs } webhook {');

/** The same rows, as they would be read without an API. */
const bareSql = `
select d.id, d.status, d.attempt_count, d.created_at, d.finished_at, e.id as event_id, e.type, w.id as webhook_id, w.name
from deliveries d join events e on e.id = d.event_id join webhooks w on w.id = d.webhook_id
where d.project_id = $1 order by d.id desc limit ${pageRows + 1}`;

/** What a page of deliveries costs over HTTP, in the time of the query that it cannot do without. */
export async function runQuery({ stack, quick, repeatCount }: BenchRun): Promise<ScenarioResult[]> {
  await using open = new AsyncDisposableStack();
  const { url: databaseUrl } = open.use(await stack.createDatabase());
  const client = await connectToDatabase(databaseUrl);
  open.defer(async () => await client.end());
  const deliveryCount = quick ? 100_000 : 1_000_000;
  const { projectUuid, apiKey } = await storeHistory(databaseUrl, client, deliveryCount);
  const gateway = open.use(
    startBenchProcess('service-process.ts', { ...settingsOf(databaseUrl, stack.redisUrl, 8), BENCH_ROLE: 'gateway' }),
  );
  const { url = '' } = await gateway.hear<{ kind: 'ready'; url?: string }>('ready', 30_000);
  const http = new HttpClient(url);
  open.defer(async () => await http.close());

  const timedCount = quick ? 200 : 500;
  const time = async (what: () => Promise<void>): Promise<Measured> => ({
    figures: await timeInTurn(what, timedCount),
    problems: [],
  });
  const ask = async (query: string, rows: number): Promise<void> => await askGateway(http, { apiKey, query, rows });
  const bare = 'the bare query, prepared';
  const result = await compare({
    title: `query: ${pageRows} of ${deliveryCount} deliveries with webhook and event type`,
    ratioOf: 'p50Ms',
    repeatCount: Math.max(3, repeatCount),
    variants: [
      { name: bare, run: async () => await time(async () => await askPostgres(client, projectUuid)) },
      {
        name: 'GraphQL over HTTP',
        against: bare,
        goal,
        run: async () => await time(async () => await ask(page, pageRows)),
      },
      {
        name: 'the same with the last attempt',
        against: bare,
        run: async () => await time(async () => await ask(withLastAttempt, pageRows)),
      },
      {
        name: 'no page: { __typename }',
        against: bare,
        run: async () => await time(async () => await ask('{ __typename }', 0)),
      },
    ],
  });
  return [result];
}

async function storeHistory(
  databaseUrl: string,
  client: Client,
  deliveryCount: number,
): Promise<{ projectUuid: string; apiKey: string }> {
  await using database = openDatabase(databaseUrl);
  const projectId = idFromUuid('project', (await createProject(database, 'Bench')).id);
  const { key: apiKey } = await createApiKey(
    database,
    projectId,
    {
      name: 'Bench',
      permissions: ['VIEW_WEBHOOKS'],
      expiresAt: null,
    },
    testActor,
  );
  const from = new Date(Date.now() - historyDays * 86_400_000);
  const plan = { projectId: uuidOf(projectId), attemptCount: 2 * deliveryCount, from, days: historyDays };
  await fillHistory(client, plan, AbortSignal.timeout(fillLimitMs));
  return { projectUuid: uuidOf(projectId), apiKey };
}

/** One after another, so that nothing is timed but the query itself. */
async function timeInTurn(what: () => Promise<void>, timedCount: number): Promise<Record<string, number>> {
  const times: number[] = [];
  for (let round = 0; round < warmUpCount + timedCount; round += 1) {
    const startedAt = performance.now();
    await what();
    if (round >= warmUpCount) times.push(performance.now() - startedAt);
  }
  return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) };
}

async function askPostgres(client: Client, projectUuid: string): Promise<void> {
  const { rowCount } = await client.query({ name: 'bare-page', text: bareSql, values: [projectUuid] });
  if (rowCount !== pageRows + 1) throw new Error(`${rowCount} rows instead of ${pageRows + 1}`);
}

async function askGateway(
  http: HttpClient,
  { apiKey, query, rows }: { apiKey: string; query: string; rows: number },
): Promise<void> {
  const { statusCode, body } = await http.request({
    path: '/graphql',
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${apiKey}` },
    body: JSON.stringify({ query }),
  });
  const text = await body.text();
  const found = text.split('"dlv_').length - 1;
  if (statusCode !== 200 || found !== rows)
    throw new Error(`${statusCode} with ${found} deliveries: ${text.slice(0, 200)}`);
}
