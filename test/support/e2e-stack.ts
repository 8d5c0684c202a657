import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { ChildProcess } from 'node:child_process';
import { createEmptyDatabase } from './postgres.ts';
import { createDataFolder, runPosthorn, startPosthorn, untilReady } from './posthorn.ts';
import type { Posthorn, RunningCommand } from './posthorn.ts';
import { startTestRedis } from './redis.ts';
import type { Endpoint } from './e2e-client.ts';

// What Posthorn runs on in the end-to-end tests, and Posthorn as real processes on it.

/** Nothing set; or a Postgres, which then holds the queue as well; or a Postgres and two Redis servers. */
export type StackKind = 'embedded' | 'postgres' | 'redis';

/** How Posthorn runs: in one process on either stack, or as a gateway and two workers on Redis. */
export const deployments = ['embedded', 'redis', 'gateway and workers on redis'] as const;
export type Deployment = (typeof deployments)[number];

/** The servers below Posthorn, new and empty, and the environment that names them. */
export interface E2eStack extends AsyncDisposable {
  kind: StackKind;
  env: Record<string, string>;
  dataFolder: string;
  /** Null where the queue is in Postgres. */
  durableRedisUrl: string | null;
}

/** A Posthorn that answers, whatever it runs as. */
export interface RunningPosthorn extends Endpoint, AsyncDisposable {
  apiKey: string;
  projectId: string;
  /** The worker processes of their own; empty where one process does all. */
  workers: readonly ChildProcess[];
  /** Where the queue is; null on the embedded stack. */
  durableRedisUrl: string | null;
  output: () => string;
}

/** Retries and sweeps in fractions of a second. */
const quick = {
  WEBHOOK_RETRY_SCHEDULE: '0.2,0.3',
  SWEEP_INTERVAL: '0.5',
  SWEEP_GRACE: '1',
  LOG_LEVEL: 'warn',
};

/** Starts the servers of a stack; `env` goes over the quick settings. */
export async function createStack(kind: StackKind, env: Record<string, string> = {}): Promise<E2eStack> {
  await using starting = new AsyncDisposableStack();
  const dataFolder = starting.use(await createDataFolder()).path;
  const common = { PORT: '0', POSTHORN_DATA: dataFolder, ...quick };
  if (kind === 'embedded') {
    const owned = starting.move();
    const dispose = async (): Promise<void> => await owned.disposeAsync();
    return { kind, env: { ...common, ...env }, dataFolder, durableRedisUrl: null, [Symbol.asyncDispose]: dispose };
  }
  const database = starting.use(await createEmptyDatabase());
  const redis = kind === 'redis' ? await startRedisServers(starting) : null;
  const servers = {
    HOST: '127.0.0.1',
    DATABASE_URL: database.url,
    ...redis,
    POSTHORN_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    WEBHOOK_REQUIRE_HTTPS: 'false',
    WEBHOOK_ALLOWED_CIDRS: '127.0.0.0/8',
  };
  const owned = starting.move();
  return {
    kind,
    env: { ...common, ...servers, ...env },
    dataFolder,
    durableRedisUrl: redis?.REDIS_URI_DURABLE ?? null,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

async function startRedisServers(
  starting: AsyncDisposableStack,
): Promise<{ REDIS_URI_DURABLE: string; REDIS_URI_VOLATILE: string }> {
  const durable = starting.use(await startTestRedis());
  const volatile = starting.use(await startTestRedis());
  return { REDIS_URI_DURABLE: durable.url, REDIS_URI_VOLATILE: volatile.url };
}

/** `posthorn start` on the stack. */
export async function startOn(stack: E2eStack): Promise<Posthorn> {
  return await startPosthorn({ env: stack.env, dataFolder: stack.dataFolder });
}

/** A stack of the deployment's own with Posthorn running on it. */
export async function deploy(deployment: Deployment, env: Record<string, string> = {}): Promise<RunningPosthorn> {
  await using starting = new AsyncDisposableStack();
  const stack = starting.use(await createStack(deployment === 'embedded' ? 'embedded' : 'redis', env));
  const posthorn =
    deployment === 'gateway and workers on redis'
      ? starting.use(await startSeparately(stack))
      : { ...starting.use(await startOn(stack)), workers: [], durableRedisUrl: stack.durableRedisUrl };
  const owned = starting.move();
  return { ...posthorn, [Symbol.asyncDispose]: async () => await owned.disposeAsync() };
}

/** Two projects on one Posthorn, each with its key: a start that finds no `demo.json` makes a project. */
export async function deployTwoProjects(kind: StackKind): Promise<RunningPosthorn & { stranger: Posthorn }> {
  await using starting = new AsyncDisposableStack();
  const stack = starting.use(await createStack(kind));
  const first = await startOn(stack);
  await first.end('SIGTERM');
  await rm(path.join(stack.dataFolder, 'demo.json'));
  const stranger = starting.use(await startOn(stack));
  const owned = starting.move();
  const { graphqlUrl, websocketUrl, output } = stranger;
  return {
    graphqlUrl,
    websocketUrl,
    output,
    stranger,
    workers: [],
    durableRedisUrl: stack.durableRedisUrl,
    apiKey: first.apiKey,
    projectId: first.projectId,
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

/** A gateway and two workers. The one `start` before makes the project. */
async function startSeparately(stack: E2eStack): Promise<RunningPosthorn> {
  await using starting = new AsyncDisposableStack();
  const first = await startOn(stack);
  await first.end('SIGTERM');
  const migrated = runPosthorn(['migrate'], stack.env);
  const { code } = await migrated.ended;
  if (code !== 0) throw new Error(`posthorn migrate ended with ${code}:\n${migrated.output()}`);
  const [gateway, ...workers] = await Promise.all(
    ['gateway', 'worker', 'worker'].map(async (command) => await startRole(starting, command, stack.env)),
  );
  const [, url = ''] = /Posthorn is ready on (http:\S+)\.$/m.exec(gateway?.output() ?? '') ?? [];
  const owned = starting.move();
  return {
    graphqlUrl: `${url}/graphql`,
    websocketUrl: `${url.replace(/^http/, 'ws')}/graphql`,
    apiKey: first.apiKey,
    projectId: first.projectId,
    workers: workers.map((worker) => worker.process),
    durableRedisUrl: stack.durableRedisUrl,
    output: () => [gateway, ...workers].map((role) => role?.output()).join('\n'),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

async function startRole(
  starting: AsyncDisposableStack,
  command: string,
  env: Record<string, string>,
): Promise<RunningCommand> {
  const running = runPosthorn([command], env);
  starting.defer(async () => {
    running.process.kill('SIGTERM');
    await running.ended;
  });
  await untilReady(running);
  return running;
}
