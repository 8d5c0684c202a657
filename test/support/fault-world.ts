import { randomBytes } from 'node:crypto';
import { idFromUuid } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { createApiKey } from '../../src/store/api-keys.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createProject } from '../../src/store/projects.ts';
import { createApiClient } from './e2e-client.ts';
import { startMortalPostgres } from './mortal-postgres.ts';
import { createDataFolder, runPosthorn, untilReady } from './posthorn.ts';
import { startTestRedis } from './redis.ts';
import { testActor } from './test-actor.ts';
import type { ApiClient } from './e2e-client.ts';
import type { MortalPostgres } from './mortal-postgres.ts';
import type { RunningCommand } from './posthorn.ts';
import type { TestRedis } from './redis.ts';

// A gateway and two workers as processes, on servers that the test ends, freezes and starts again.

export interface FaultWorld extends AsyncDisposable {
  postgres: MortalPostgres;
  /** The durable Redis that runs now. */
  redis: TestRedis;
  /** Kills the durable Redis. */
  killRedis(): Promise<void>;
  /** Starts it anew on its port, empty. */
  startRedis(): Promise<void>;
  url: string;
  apiKey: string;
  projectId: string;
  client: ApiClient;
  processes: Readonly<Record<'gateway' | 'first worker' | 'second worker', RunningCommand>>;
}

const commands = { gateway: 'gateway', 'first worker': 'worker', 'second worker': 'worker' } as const;
const settings = {
  PORT: '0',
  HOST: '127.0.0.1',
  WEBHOOK_REQUIRE_HTTPS: 'false',
  WEBHOOK_ALLOWED_CIDRS: '127.0.0.0/8',
  // A claim is stale after 7 s.
  WEBHOOK_TIMEOUT: '2',
  WEBHOOK_RETRY_SCHEDULE: '1,1',
  SWEEP_INTERVAL: '0.5',
  SWEEP_GRACE: '1',
  LOG_LEVEL: 'warn',
};

/** Starts everything. `env` by process goes over the settings of all. */
export async function startFaultWorld(
  env: Partial<Record<keyof FaultWorld['processes'], Record<string, string>>> = {},
): Promise<FaultWorld> {
  await using starting = new AsyncDisposableStack();
  const postgres = starting.use(await startMortalPostgres());
  const volatile = starting.use(await startTestRedis());
  let redis = await startTestRedis();
  starting.defer(async () => await redis[Symbol.asyncDispose]());
  const common = {
    ...settings,
    POSTHORN_DATA: starting.use(await createDataFolder()).path,
    DATABASE_URL: postgres.url,
    REDIS_URI_DURABLE: redis.url,
    REDIS_URI_VOLATILE: volatile.url,
    POSTHORN_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
  };
  const migrated = runPosthorn(['migrate'], common);
  if ((await migrated.ended).code !== 0) throw new Error(migrated.output());
  const { apiKey, projectId } = await createKey(postgres.url);
  const start = (name: keyof typeof commands): RunningCommand => {
    const running = runPosthorn([commands[name]], { ...common, ...env[name] });
    starting.defer(async () => {
      running.process.kill('SIGKILL');
      await running.ended;
    });
    return running;
  };
  const processes = {
    gateway: start('gateway'),
    'first worker': start('first worker'),
    'second worker': start('second worker'),
  };
  await Promise.all(Object.values(processes).map(untilReady));
  const [url = ''] = /http:\/\/127\.0\.0\.1:\d+/.exec(processes.gateway.output()) ?? [];
  const endpoint = { graphqlUrl: `${url}/graphql`, websocketUrl: `${url.replace('http', 'ws')}/graphql` };
  const client = starting.use(createApiClient(endpoint, apiKey));
  const owned = starting.move();
  return {
    postgres,
    get redis() {
      return redis;
    },
    killRedis: async () => await redis.kill(),
    startRedis: async () => void (redis = await startTestRedis({ port: redis.port })),
    url,
    apiKey,
    projectId,
    client,
    processes,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

async function createKey(databaseUrl: string): Promise<{ apiKey: string; projectId: string }> {
  await using database = openDatabase(databaseUrl);
  const projectId = idFromUuid('project', (await createProject(database, 'Faults')).id);
  const input = { name: 'Faults', permissions, expiresAt: null };
  return { apiKey: (await createApiKey(database, projectId, input, testActor)).key, projectId };
}

/** The lines of the process's log, of warnings and worse. */
export function logOf(
  running: RunningCommand,
): { level: number; msg: string; server?: string; failureCount?: number }[] {
  return running
    .output()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as ReturnType<typeof logOf>[number]);
}

/** How an emit was answered over HTTP. */
export interface EmitAnswer {
  status: number;
  retryAfter: string | null;
  code: unknown;
  retryAfterSeconds: unknown;
  durationMs: number;
}

/** Emits an event once. */
export async function emitOnce({ url, apiKey }: FaultWorld, type: string, key: string | null): Promise<EmitAnswer> {
  const startedAt = performance.now();
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', authorization: `Bearer ${apiKey}` },
    body: JSON.stringify({
      query:
        'mutation Emit($input: EmitEventInput!) { emitEvent(input: $input) { event { id } userErrors { message } } }',
      variables: { input: { type, data: { key }, idempotencyKey: key } },
    }),
    signal: AbortSignal.timeout(20_000),
  });
  const { errors } = (await response.json()) as { errors?: { extensions: Record<string, unknown> }[] };
  const extensions = errors?.[0]?.extensions ?? {};
  return {
    status: response.status,
    retryAfter: response.headers.get('retry-after'),
    code: extensions['code'] ?? null,
    retryAfterSeconds: extensions['retryAfterSeconds'] ?? null,
    durationMs: performance.now() - startedAt,
  };
}
