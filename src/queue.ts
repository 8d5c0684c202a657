import { z } from 'zod';
import { coalesce } from './coalesce.ts';
import { findId } from './domain/ids.ts';
import { openQueue, startWorker } from './queue-backend.ts';
import { endsWithin, within } from './time-limit.ts';
import type { JobSchedulerJson } from 'bullmq';
import type { DueDelivery } from './domain/delivery.ts';
import type { DeliveryId, WebhookId } from './domain/ids.ts';
import type { JobQueue, NewJob, OnQueueError, QueueConnection } from './queue-backend.ts';

// The queue: hints that deliveries are due, and the clock of what repeats.
// Invariant: nothing here is the truth. A job may be lost, doubled or late; the claim in Postgres decides who sends, and
// the sweep finds what was lost. So jobs are never retried, kept or made durable, and a queue that is down fails quickly.
// The gateway enqueues, the worker consumes and schedules; queue-backend.ts is BullMQ, on Redis or on Postgres.

/** Deliveries that one job carries at most. */
export const deliveriesPerJobMax = 50;

const queueNames = { deliveries: 'posthorn-deliveries', schedules: 'posthorn-schedules' } as const;
/** The longest that a caller waits for a backend that does not answer. */
const callLimitMs = 2000;
/** Up to here jobs are added one by one, above in bulk. */
const singleAddsMax = 8;
const defaultStopLimitMs = 15_000;
const defaultLockMs = 30_000;
const defaultReconcileMs = 10_000;
/** Calls of `enqueue` that wait at most; a backend that hangs must not fill the memory. */
const waitingCallsMax = 10_000;

/** Where hints that deliveries are due are put. Hints may be lost, doubled or late: Postgres is the truth. */
export interface DeliveryQueue extends AsyncDisposable {
  /**
   * Adds jobs for the deliveries. Concurrent calls are joined into one bulk add: immediate deliveries of one urgency share
   * jobs of at most 50, a delayed one has its job to itself.
   * Rejects within 2 s when the backend does not answer; the jobs may have been added even so.
   */
  enqueue(deliveries: readonly DueDelivery[], options?: EnqueueOptions): Promise<void>;
  /** Jobs waiting or running, delayed ones not counted. Rejects within 2 s when the backend does not answer. */
  countReady(): Promise<number>;
  /** Jobs by where they are. Rejects within 2 s when the backend does not answer. */
  countJobs(): Promise<JobCounts>;
  /** Asks the backend for an answer. Rejects within 2 s when there is none. */
  ping(): Promise<void>;
}

/** Jobs by where they are. A waiting or active one carries up to 50 deliveries, a delayed one has a single delivery. */
export interface JobCounts {
  waiting: number;
  active: number;
  delayed: number;
}

/** What makes a worker send what it would let wait. */
export type Urgency =
  /** As there is room. */
  | 'normal'
  /** It waited for its webhook, and more may be waiting: the worker that has room for it goes on with those. */
  | 'released'
  /** A person waits for it: at once, whatever else its webhook has under way. */
  | 'urgent';

export interface EnqueueOptions {
  /** Milliseconds before the jobs run, default 0. */
  delayMs?: number;
  /** Default `normal`. */
  urgency?: Urgency;
}

/** How deliveries are taken. */
export interface DeliveryConsumerOptions {
  /** Jobs handled at the same time. */
  jobConcurrency: number;
  /** Handles one job: from 1 to 50 deliveries. `signal` aborts when the consumer has waited long enough to stop. */
  handle(deliveries: readonly DueDelivery[], urgency: Urgency, signal: AbortSignal): Promise<void>;
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

type Enqueued = { deliveries: readonly DueDelivery[] } & Required<EnqueueOptions>;

const deliveryId = z.custom<DeliveryId>((id) => typeof id === 'string' && findId('delivery', id) !== null);
const webhookId = z.custom<WebhookId>((id) => typeof id === 'string' && findId('webhook', id) !== null);

/** A job's data: the ids of its deliveries by webhook. */
const deliveryJob = z.object({
  due: z
    .array(z.tuple([webhookId, z.array(deliveryId)]))
    .refine((due) => isJobSize(due.reduce((sum, [, ids]) => sum + ids.length, 0)), 'not 1 to 50 deliveries'),
  urgency: z.enum(['normal', 'released', 'urgent'] satisfies Urgency[]),
});
type DeliveryJob = z.output<typeof deliveryJob>;

/**
 * Starts the producer. On Postgres the schema must have been made by `migrateQueue` and the server must answer, or it
 * rejects; on Redis it starts even when the server is down, and connects as soon as it can.
 */
export async function startDeliveryQueue(
  connection: QueueConnection,
  options: { onError: OnQueueError },
): Promise<DeliveryQueue> {
  const queue = await openQueue(connection, queueNames.deliveries, options.onError);
  let waitingCallCount = 0;
  const add = coalesce(async (calls: Enqueued[]) => {
    try {
      await answer(queue.waitUntilReady()); // BullMQ would keep jobs that come before the first connection in memory
      await answer(addJobs(queue, jobsOf(calls)));
    } finally {
      waitingCallCount -= calls.length;
    }
    return calls.map(() => null);
  });

  return {
    async enqueue(deliveries, { delayMs = 0, urgency = 'normal' } = {}) {
      if (deliveries.length === 0) return;
      if (waitingCallCount >= waitingCallsMax) throw new Error(`${waitingCallCount} calls already wait for the queue`);
      waitingCallCount += 1;
      await answer(add({ deliveries, delayMs, urgency }));
    },
    async countReady() {
      return await answer(queue.getJobCountByTypes('waiting', 'active'));
    },
    async countJobs() {
      const { waiting = 0, active = 0, delayed = 0 } = await answer(queue.getJobCounts('waiting', 'active', 'delayed'));
      return { waiting, active, delayed };
    },
    async ping() {
      await answer(queue.getVersion());
    },
    async [Symbol.asyncDispose]() {
      // One flush runs at a time: when this one has ended, every earlier call has.
      await Promise.allSettled([add({ deliveries: [], delayMs: 0, urgency: 'normal' })]);
      await queue.getBackend().close(true);
    },
  };
}

function isJobSize(count: number): boolean {
  return count >= 1 && count <= deliveriesPerJobMax;
}

/** Adds few jobs one by one: BullMQ's bulk add on Postgres makes temporary tables, 12 ms against 1.5 ms for one job. */
async function addJobs(queue: JobQueue, jobs: NewJob[]): Promise<void> {
  if (jobs.length > singleAddsMax) await queue.addBulk(jobs);
  else await Promise.all(jobs.map(async ({ name, data, opts }) => await queue.add(name, data, opts)));
}

/** The jobs for what was enqueued together: immediate deliveries in jobs of at most 50, each delayed one alone. */
function jobsOf(calls: readonly Enqueued[]): NewJob[] {
  const jobs: NewJob[] = [];
  for (const urgency of ['urgent', 'released', 'normal'] as const) {
    const immediate = calls.filter((call) => call.delayMs <= 0 && call.urgency === urgency);
    const deliveries = immediate.flatMap((call) => call.deliveries);
    for (let start = 0; start < deliveries.length; start += deliveriesPerJobMax) {
      jobs.push({ name: 'deliver', data: jobData(deliveries.slice(start, start + deliveriesPerJobMax), urgency) });
    }
  }
  for (const { deliveries, delayMs, urgency } of calls) {
    if (delayMs <= 0) continue;
    for (const due of deliveries)
      jobs.push({ name: 'deliver', data: jobData([due], urgency), opts: { delay: delayMs } });
  }
  return jobs;
}

function jobData(deliveries: readonly DueDelivery[], urgency: Urgency): DeliveryJob {
  const due = new Map<WebhookId, DeliveryId[]>();
  for (const { id, webhookId: webhook } of deliveries) {
    const ids = due.get(webhook);
    if (ids === undefined) due.set(webhook, [id]);
    else ids.push(id);
  }
  return { due: [...due], urgency };
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
      if (parsed.success) return await options.handle(deliveriesOf(parsed.data), parsed.data.urgency, signal);
      throw new Error(
        `job ${job.id} of ${queueNames.deliveries} carries no deliveries: ${z.prettifyError(parsed.error)}`,
      );
    },
  });
}

function deliveriesOf(job: DeliveryJob): DueDelivery[] {
  return job.due.flatMap(([webhook, ids]) => ids.map((id) => ({ id, webhookId: webhook })));
}

/**
 * Starts the schedules on this host: each tick runs on one of the hosts that know it, and schedules no longer in the
 * list are removed for all. A run that throws is reported. A tick that comes to a host which is still at an
 * earlier one of the same schedule is passed over, so that a slow schedule keeps no other from its places.
 * Every `reconcileMs` (default 10 s) schedules that the backend has lost, or whose run is overdue by as much, are stored again.
 * Disposing aborts the signal of running ones and closes.
 */
export async function startSchedules(
  connection: QueueConnection,
  schedules: readonly Schedule[],
  options: { onError: OnQueueError; reconcileMs?: number },
): Promise<AsyncDisposable> {
  const { onError, reconcileMs = defaultReconcileMs } = options;
  await using stack = new AsyncDisposableStack();
  const queue = await openQueue(connection, queueNames.schedules, onError);
  stack.defer(async () => await queue.getBackend().close(true));

  const reconcile = async (): Promise<void> => {
    try {
      await within(reconcileMs, 'the queue', reconcileSchedules(queue, schedules, reconcileMs));
    } catch (error) {
      onError(new Error('the schedules could not be looked after', { cause: error }));
    }
  };
  await endsWithin(callLimitMs, reconcile());
  let reconciling = Promise.resolve();
  const timer = setInterval(() => {
    reconciling = reconciling.then(reconcile);
  }, reconcileMs);
  stack.defer(() => clearInterval(timer));

  const running = new Set<string>();
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
        if (running.has(schedule.name)) return; // BullMQ stores the next tick when it hands one out, not when that has ended
        running.add(schedule.name);
        await schedule.run(signal).finally(() => running.delete(schedule.name));
      },
    }),
  );
  return stack.move();
}

/**
 * Makes the stored schedulers those of the list. One that is stored as wanted is left alone, unless its run is overdue:
 * when a connection ends between taking a run and storing the next one, BullMQ does nothing until the lock has expired.
 */
async function reconcileSchedules(queue: JobQueue, schedules: readonly Schedule[], overdueMs: number): Promise<void> {
  const stored = await queue.getJobSchedulers(0, -1);
  for (const { key } of stored) {
    if (!schedules.some(({ name }) => name === key)) await queue.removeJobScheduler(key);
  }
  for (const schedule of schedules) {
    const current = stored.find(({ key }) => key === schedule.name);
    if (current !== undefined && isAsWanted(current, schedule) && (current.next ?? 0) > Date.now() - overdueMs)
      continue;
    const repeat = 'cron' in schedule ? { pattern: schedule.cron, tz: 'UTC' } : { every: schedule.everyMs };
    await queue.upsertJobScheduler(schedule.name, repeat);
  }
}

function isAsWanted(stored: JobSchedulerJson, schedule: Schedule): boolean {
  return 'cron' in schedule ? stored.pattern === schedule.cron : stored.every === schedule.everyMs;
}

/** The backend's answer, or a rejection when it keeps a caller waiting. */
async function answer<Value>(promise: Promise<Value>): Promise<Value> {
  return await within(callLimitMs, 'the queue', promise);
}

export type { OnQueueError, QueueConnection } from './queue-backend.ts';
