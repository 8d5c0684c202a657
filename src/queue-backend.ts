import { createPostgresBackend, Queue, runMigrations, withBackend, Worker } from 'bullmq';
import { Client } from 'pg';
import { endsWithin } from './time-limit.ts';
import type { BulkJobOptions, IQueueBackend, JobSchedulerJson, PostgresPoolConfig, RedisOptions } from 'bullmq';

const onPostgres = withBackend(createPostgresBackend);
const defaultNamespace = 'posthorn_queue';
/** What running jobs get to end after they were asked to stop. */
const abandonMs = 5000;
/** What closing gets once nothing runs any more. */
const closeLimitMs = 2000;
/** Postgres connections at most: of a queue, and of a worker besides the one that listens. */
const queuePoolMax = 2;
const workerPoolMax = 4;

/**
 * Where the queue lives. `prefix` names the keys in Redis, `schema` the tables in Postgres (both default to
 * `posthorn_queue`), so that several deployments can share a server.
 */
export type QueueConnection =
  | { kind: 'redis'; url: string; prefix?: string }
  | { kind: 'postgres'; url: string; schema?: string };

/** Takes what goes wrong where no caller waits for it: a lost connection, a job that cannot be read, a handler that throws. */
export type OnQueueError = (error: Error) => void;

/** Makes or updates the queue's tables in Postgres; safe to run by many at once, nothing to do on Redis. */
export async function migrateQueue(connection: QueueConnection): Promise<void> {
  if (connection.kind === 'redis') return;
  const client = new Client({ connectionString: connection.url });
  await client.connect();
  try {
    await runMigrations(client, connection.schema ?? defaultNamespace);
  } finally {
    await client.end();
  }
}

/** A job to add. */
export interface NewJob {
  name: string;
  data: unknown;
  opts?: BulkJobOptions;
}

/** The part of BullMQ's Queue that is used, the same on both backends. */
export interface JobQueue {
  add(name: string, data: unknown, opts?: BulkJobOptions): Promise<unknown>;
  addBulk(jobs: NewJob[]): Promise<unknown>;
  getJobCountByTypes(...types: ('waiting' | 'active')[]): Promise<number>;
  getJobCounts(...types: ('waiting' | 'active' | 'delayed')[]): Promise<Record<string, number>>;
  getVersion(): Promise<string | null>;
  getJobSchedulers(start: number, end: number): Promise<JobSchedulerJson[]>;
  upsertJobScheduler(id: string, repeat: object, template?: { data?: unknown }): Promise<unknown>;
  removeJobScheduler(id: string): Promise<boolean>;
  waitUntilReady(): Promise<unknown>;
  getBackend(): IQueueBackend;
}

/**
 * Opens a queue to add to. On Postgres it rejects when the server is away or its schema is not migrated; on Redis it
 * connects when it can, and while it cannot, calls reject at once or wait: they need a limit.
 */
export async function openQueue(connection: QueueConnection, name: string, onError: OnQueueError): Promise<JobQueue> {
  const defaultJobOptions = { removeOnComplete: true, removeOnFail: true };
  const streams = { events: { maxLen: 100 } }; // nobody reads BullMQ's events
  const shared = { defaultJobOptions, streams, skipVersionCheck: true };
  if (connection.kind === 'redis') {
    const queue = new Queue<unknown>(name, {
      ...shared,
      connection: { ...redisOptions(connection.url), enableOfflineQueue: false, maxRetriesPerRequest: 0 },
      prefix: connection.prefix ?? defaultNamespace,
    });
    queue.on('error', onError);
    return queue;
  }
  const options = { ...shared, connection: postgresOptions(connection, queuePoolMax) };
  const queue = new onPostgres.Queue<unknown>(name, options);
  queue.on('error', onError);
  await readyOr(queue, async () => await queue.close());
  return queue;
}

/** How jobs of one queue are worked on. */
export interface WorkerSettings {
  queueName: string;
  /** Jobs at the same time. */
  concurrency: number;
  onError: OnQueueError;
  /** How long closing waits before it aborts the signal. */
  stopLimitMs: number;
  /** How long a job stays with a worker that gives no sign of life. */
  lockMs: number;
  process(job: { id?: string | undefined; name: string; data: unknown }, signal: AbortSignal): Promise<void>;
}

/** Starts a worker whose jobs always end as done: what `process` throws is reported, never retried. */
export async function startWorker(connection: QueueConnection, settings: WorkerSettings): Promise<AsyncDisposable> {
  const { onError } = settings;
  const stop = new AbortController();
  const running = new Set<Promise<void>>();
  const processor = async (job: Parameters<WorkerSettings['process']>[0]): Promise<void> => {
    const run = settings.process(job, stop.signal).catch((error: unknown) => onError(errorOf(error)));
    running.add(run);
    await run;
    running.delete(run);
  };
  const worker = openWorker(connection, settings, processor);
  worker.on('error', onError);
  worker.on('failed', (_job, error) => onError(error));
  if (connection.kind === 'postgres') await readyOr(worker, async () => await worker.close());
  worker.run().catch((error: unknown) => onError(errorOf(error)));
  return { [Symbol.asyncDispose]: async () => await closeWorker(worker, { stop, running, settings }) };
}

type Processor = (job: Parameters<WorkerSettings['process']>[0]) => Promise<void>;

/** The part of BullMQ's Worker that is used here, the same on both backends. */
interface JobWorker {
  on(event: 'error', listener: OnQueueError): unknown;
  on(event: 'failed', listener: (job: unknown, error: Error) => void): unknown;
  run(): Promise<void>;
  close(): Promise<void>;
  waitUntilReady(): Promise<void>;
  getBackend(): IQueueBackend;
}

function openWorker(connection: QueueConnection, settings: WorkerSettings, processor: Processor): JobWorker {
  const shared = {
    autorun: false,
    concurrency: settings.concurrency,
    lockDuration: settings.lockMs,
    stalledInterval: settings.lockMs / 2,
    maxStalledCount: 1,
    runRetryDelay: 1000,
  };
  if (connection.kind === 'redis') {
    return new Worker<unknown, void>(settings.queueName, processor, {
      ...shared,
      connection: { ...redisOptions(connection.url), maxRetriesPerRequest: null },
      prefix: connection.prefix ?? defaultNamespace,
    });
  }
  const options = { ...shared, connection: postgresOptions(connection, workerPoolMax) };
  return new onPostgres.Worker<unknown, void>(settings.queueName, processor, options);
}

/** Takes nothing new, waits for what runs, asks it to stop after the limit, and in the end leaves it to another worker. */
async function closeWorker(
  worker: JobWorker,
  state: { stop: AbortController; running: ReadonlySet<Promise<void>>; settings: WorkerSettings },
): Promise<void> {
  const { stop, running, settings } = state;
  const closing = worker.close();
  // A job that was being fetched when closing began still runs, so what runs is looked at again after the wait.
  // BullMQ's own close never ends while its server is away, which is why it is not waited for alone.
  const quiet = async (): Promise<void> => {
    do await Promise.allSettled(running);
    while (!(await endsWithin(closeLimitMs, closing)) && running.size > 0);
  };
  const ended = quiet();
  if (!(await endsWithin(settings.stopLimitMs, ended))) {
    stop.abort(new Error('the worker is stopping'));
    if (!(await endsWithin(abandonMs, ended))) {
      settings.onError(new Error(`${running.size} jobs of ${settings.queueName} did not stop when asked to`));
    }
  }
  if (!(await endsWithin(0, closing))) await endsWithin(closeLimitMs, worker.getBackend().close(true));
}

function redisOptions(url: string): RedisOptions {
  return { url, retryStrategy: (times: number) => Math.min(100 * times, 2000) };
}

function postgresOptions(connection: { url: string; schema?: string }, max: number): PostgresPoolConfig {
  return {
    connectionString: connection.url,
    schema: connection.schema ?? defaultNamespace,
    max,
    connectionTimeoutMillis: 10_000,
    // Losing the last jobs in a crash is allowed (the sweep finds them), waiting for the disk is not needed.
    options: '-c synchronous_commit=off',
  };
}

/** Waits until the backend answers; when it does not, closes and rejects. */
async function readyOr(ready: { waitUntilReady(): Promise<unknown> }, close: () => Promise<void>): Promise<void> {
  try {
    await ready.waitUntilReady();
  } catch (error) {
    await close();
    throw error;
  }
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
