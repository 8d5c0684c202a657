import { createPostgresBackend, Queue, runMigrations, withBackend, Worker } from 'bullmq';
import type { BulkJobOptions, IQueueBackend, JobSchedulerJson, PostgresPoolConfig, RedisOptions } from 'bullmq';
import { Client } from 'pg';
import { z } from 'zod';
import { coalesce } from './coalesce.ts';
import type { DeliveryId } from './domain/ids.ts';
import { findId } from './domain/ids.ts';
import { endsWithin, within } from './time-limit.ts';

// BullMQ, on Redis or on Postgres: hints that deliveries are due, and the clock of what repeats.
// Invariant: nothing here is the truth. A job may be lost, doubled or late; the claim in Postgres decides who sends, and
// the sweep finds what was lost. So jobs are never retried, kept or made durable, and a queue that is down fails quickly.
// The gateway enqueues, the worker consumes and schedules; only this file knows which backend is behind it.

/** Deliveries that one job carries at most. */
export const deliveriesPerJobMax = 50;

const queueNames = { deliveries: 'posthorn-deliveries', schedules: 'posthorn-schedules' } as const;
const onPostgres = withBackend(createPostgresBackend);
const defaultNamespace = 'posthorn_queue';
/** The longest that a caller waits for a backend that does not answer. */
const callLimitMs = 2000;
/** Up to here jobs are added one by one, above in bulk. */
const singleAddsMax = 8;
const defaultStopLimitMs = 15_000;
const defaultLockMs = 30_000;
/** How often the schedules are looked after: an emptied Redis forgets them. */
const reconcileMs = 10_000;
/** A schedule whose next run is overdue by this much has lost its job. */
const overdueMs = 30_000;
/** What running jobs get to end after they were asked to stop. */
const abandonMs = 5000;
/** Postgres connections of a worker, besides the one that listens. */
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

/** Where hints that deliveries are due are put. Hints may be lost, doubled or late: Postgres is the truth. */
export interface DeliveryQueue extends AsyncDisposable {
  /**
   * Adds jobs for the deliveries, to run after `delayMs` (default 0). Concurrent calls are joined into one bulk add:
   * immediate deliveries share jobs of at most 50, a delayed one has its job to itself.
   * Rejects within 2 s when the backend does not answer; the jobs may have been added even so.
   */
  enqueue(deliveryIds: readonly DeliveryId[], delayMs?: number): Promise<void>;
  /** Jobs waiting or running, delayed ones not counted. Rejects within 2 s when the backend does not answer. */
  countReady(): Promise<number>;
  /** Asks the backend for an answer. Rejects within 2 s when there is none. */
  ping(): Promise<void>;
}

/** How deliveries are taken. */
export interface DeliveryConsumerOptions {
  /** Jobs handled at the same time. */
  jobConcurrency: number;
  /** Handles one job: from 1 to 50 deliveries. `signal` aborts when the consumer has waited long enough to stop. */
  handle(deliveryIds: DeliveryId[], signal: AbortSignal): Promise<void>;
  onError: OnQueueError;
  /** How long disposing waits for running handlers before it aborts their signal (default 15 s). */
  stopLimitMs?: number;
  /** How long a job stays with a worker that gives no sign of life (default 30 s). */
  lockMs?: number;
}

/** Something to do repeatedly, once per tick in the whole deployment. `cron` is read in UTC. */
export type Schedule = { name: string; run(signal: AbortSignal): Promise<void> } & (
  | { everyMs: number }
  | { cron: string }
);

type Enqueued = { ids: readonly DeliveryId[]; delayMs: number };

const deliveryJob = z.object({
  ids: z
    .array(z.custom<DeliveryId>((id) => typeof id === 'string' && findId('delivery', id) !== null, 'not a delivery id'))
    .min(1)
    .max(deliveriesPerJobMax),
});

/**
 * Starts the producer. On Postgres the schema must have been made by `migrateQueue` and the server must answer, or it
 * rejects; on Redis it starts even when the server is down, and connects as soon as it can.
 */
export async function startDeliveryQueue(
  connection: QueueConnection,
  options: { onError: OnQueueError },
): Promise<DeliveryQueue> {
  const queue = await openQueue(connection, queueNames.deliveries, options.onError);
  const add = coalesce(async (calls: Enqueued[]) => {
    const jobs = jobsOf(calls);
    await answer(addJobs(queue, jobs));
    return calls.map(() => null);
  });

  return {
    async enqueue(deliveryIds, delayMs = 0) {
      if (deliveryIds.length > 0) await answer(add({ ids: deliveryIds, delayMs }));
    },
    async countReady() {
      return await answer(queue.getJobCountByTypes('waiting', 'active'));
    },
    async ping() {
      await answer(queue.getVersion());
    },
    async [Symbol.asyncDispose]() {
      await add({ ids: [], delayMs: 0 }); // one flush runs at a time: when this one ends, earlier calls have ended
      await queue.getBackend().close(true);
    },
  };
}

/** Adds few jobs one by one: BullMQ's bulk add on Postgres makes temporary tables, 12 ms against 1.5 ms for one job. */
async function addJobs(queue: JobQueue, jobs: ReturnType<typeof jobsOf>): Promise<void> {
  if (jobs.length > singleAddsMax) await queue.addBulk(jobs);
  else await Promise.all(jobs.map(async ({ name, data, opts }) => await queue.add(name, data, opts)));
}

/** The jobs for what was enqueued together: immediate deliveries in jobs of at most 50, each delayed one alone. */
function jobsOf(calls: readonly Enqueued[]): { name: string; data: { ids: DeliveryId[] }; opts?: BulkJobOptions }[] {
  const immediate = calls.filter((call) => call.delayMs <= 0).flatMap((call) => call.ids);
  const delayed = calls.filter((call) => call.delayMs > 0);
  const jobs: ReturnType<typeof jobsOf> = [];
  for (let start = 0; start < immediate.length; start += deliveriesPerJobMax) {
    jobs.push({ name: 'deliver', data: { ids: immediate.slice(start, start + deliveriesPerJobMax) } });
  }
  for (const { ids, delayMs } of delayed) {
    for (const id of ids) jobs.push({ name: 'deliver', data: { ids: [id] }, opts: { delay: delayMs } });
  }
  return jobs;
}

/**
 * Starts taking deliveries. A job that cannot be read, or whose handler throws, is reported and dropped: the sweep
 * finds its deliveries. A job whose worker died goes to another worker once. Lost connections are taken up again for ever.
 * Disposing takes nothing new, waits for running handlers, aborts their signal after `stopLimitMs`, and closes.
 */
export async function startDeliveryConsumer(
  connection: QueueConnection,
  options: DeliveryConsumerOptions,
): Promise<AsyncDisposable> {
  return await startWorker(connection, {
    queueName: queueNames.deliveries,
    concurrency: options.jobConcurrency,
    onError: options.onError,
    stopLimitMs: options.stopLimitMs ?? defaultStopLimitMs,
    lockMs: options.lockMs ?? defaultLockMs,
    process: async (job, signal) => {
      const parsed = deliveryJob.safeParse(job.data);
      if (parsed.success) return await options.handle(parsed.data.ids, signal);
      throw new Error(
        `job ${job.id} of ${queueNames.deliveries} carries no deliveries: ${z.prettifyError(parsed.error)}`,
      );
    },
  });
}

/**
 * Starts the schedules on this host: each tick runs on one of the hosts that know it, and schedules no longer in the
 * list are removed for all. A run that throws is reported. A slow run delays later ticks rather than piling them up.
 * Disposing aborts the signal of running ones and closes.
 */
export async function startSchedules(
  connection: QueueConnection,
  schedules: readonly Schedule[],
  { onError }: { onError: OnQueueError },
): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const queue = await openQueue(connection, queueNames.schedules, onError);
  stack.defer(async () => await queue.getBackend().close(true));

  const reconcile = async (): Promise<void> => {
    try {
      await within(reconcileMs, 'the queue', reconcileSchedules(queue, schedules));
    } catch (error) {
      onError(errorOf(error));
    }
  };
  await endsWithin(callLimitMs, reconcile());
  let reconciling = Promise.resolve();
  const timer = setInterval(() => {
    reconciling = reconciling.then(reconcile);
  }, reconcileMs);
  stack.defer(() => clearInterval(timer));

  stack.use(
    await startWorker(connection, {
      queueName: queueNames.schedules,
      concurrency: Math.max(1, schedules.length),
      onError,
      stopLimitMs: 0,
      lockMs: defaultLockMs,
      process: async (job, signal) => {
        const schedule = schedules.find(({ name }) => name === job.name);
        if (schedule === undefined) throw new Error(`no schedule is named ${JSON.stringify(job.name)}`);
        await schedule.run(signal);
      },
    }),
  );
  return stack.move();
}

/** Makes the stored schedulers those of the list. One that is stored as wanted and not overdue is left alone. */
async function reconcileSchedules(queue: JobQueue, schedules: readonly Schedule[]): Promise<void> {
  const stored = await queue.getJobSchedulers(0, -1);
  for (const { key } of stored) {
    if (!schedules.some(({ name }) => name === key)) await queue.removeJobScheduler(key);
  }
  for (const schedule of schedules) {
    const current = stored.find(({ key }) => key === schedule.name);
    if (current !== undefined && isAsWanted(current, schedule)) continue;
    const repeat = 'cron' in schedule ? { pattern: schedule.cron, tz: 'UTC' } : { every: schedule.everyMs };
    await queue.upsertJobScheduler(schedule.name, repeat);
  }
}

function isAsWanted(stored: JobSchedulerJson, schedule: Schedule): boolean {
  const sameTimes = 'cron' in schedule ? stored.pattern === schedule.cron : stored.every === schedule.everyMs;
  return sameTimes && (stored.next ?? 0) > Date.now() - overdueMs;
}

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

/** The part of BullMQ's Queue that is used here, the same on both backends. */
interface JobQueue {
  add(name: string, data: unknown, opts?: BulkJobOptions): Promise<unknown>;
  addBulk(jobs: { name: string; data: unknown; opts?: BulkJobOptions }[]): Promise<unknown>;
  getJobCountByTypes(...types: ('waiting' | 'active')[]): Promise<number>;
  getVersion(): Promise<string | null>;
  getJobSchedulers(start: number, end: number): Promise<JobSchedulerJson[]>;
  upsertJobScheduler(id: string, repeat: object, template?: { data?: unknown }): Promise<unknown>;
  removeJobScheduler(id: string): Promise<boolean>;
  getBackend(): IQueueBackend;
}

async function openQueue(connection: QueueConnection, name: string, onError: OnQueueError): Promise<JobQueue> {
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
  const options = { ...shared, connection: postgresOptions(connection, 2) };
  const queue = new onPostgres.Queue<unknown>(name, options);
  queue.on('error', onError);
  await readyOr(queue, async () => await queue.close());
  return queue;
}

interface WorkerSettings {
  queueName: string;
  concurrency: number;
  onError: OnQueueError;
  stopLimitMs: number;
  lockMs: number;
  process(job: { id?: string | undefined; name: string; data: unknown }, signal: AbortSignal): Promise<void>;
}

/** Starts a BullMQ worker whose jobs always end as done: what `process` throws is reported, never retried. */
async function startWorker(connection: QueueConnection, settings: WorkerSettings): Promise<AsyncDisposable> {
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
    while (!(await endsWithin(callLimitMs, closing)) && running.size > 0);
  };
  const ended = quiet();
  if (!(await endsWithin(settings.stopLimitMs, ended))) {
    stop.abort(new Error('the worker is stopping'));
    if (!(await endsWithin(abandonMs, ended))) {
      settings.onError(new Error(`${running.size} jobs of ${settings.queueName} did not stop when asked to`));
    }
  }
  if (!(await endsWithin(0, closing))) await endsWithin(callLimitMs, worker.getBackend().close(true));
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

/** The backend's answer, or a rejection when it keeps a caller waiting. */
async function answer<Value>(promise: Promise<Value>): Promise<Value> {
  return await within(callLimitMs, 'the queue', promise);
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
