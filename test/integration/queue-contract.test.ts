import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { migrateQueue } from '../../src/queue-backend.ts';
import { startDeliveryConsumer, startDeliveryQueue, startSchedules } from '../../src/queue.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { createGate, due, isPendingAfter, newDeliveryIds, takingIds, withBullQueue } from '../support/queue.ts';
import { startTestRedis } from '../support/redis.ts';
import type { DeliveryId } from '../../src/domain/ids.ts';
import type { DeliveryConsumerOptions, QueueConnection } from '../../src/queue.ts';

const run = async (): Promise<void> => {};
const limit = { timeout: 10_000, interval: 10 };

/** A job's data, with those ids for one webhook. */
function jobOf(ids: readonly string[]) {
  return { due: [[idFromUuid('webhook', randomUUID()), ids]], urgency: 'normal' };
}

describe.each(['redis', 'postgres'] as const)('the queue on %s', (kind) => {
  const servers = new AsyncDisposableStack();
  let url: string;
  let connection: QueueConnection;
  let errors: Error[];
  let namespaceCount = 0;
  const onError = (error: Error): void => void errors.push(error);

  async function newNamespace(): Promise<QueueConnection> {
    namespaceCount += 1;
    const name = `test_${namespaceCount}`;
    const created: QueueConnection = kind === 'redis' ? { kind, url, prefix: name } : { kind, url, schema: name };
    await migrateQueue(created);
    return created;
  }

  async function consume(
    handle: (ids: DeliveryId[], signal: AbortSignal) => Promise<void>,
    options: Partial<DeliveryConsumerOptions> = {},
  ): Promise<AsyncDisposable> {
    return await startDeliveryConsumer(connection, {
      jobConcurrency: 4,
      handle: takingIds(handle),
      onError,
      ...options,
    });
  }

  beforeAll(async () => {
    url = servers.use(kind === 'redis' ? await startTestRedis() : await createTestDatabase()).url;
  });
  afterAll(async () => await servers.disposeAsync());
  beforeEach(async () => {
    errors = [];
    connection = await newNamespace();
  });

  test('every enqueued delivery is handled, at most 50 in a job', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const jobs: DeliveryId[][] = [];
    await using _consumer = await consume(async (ids) => void jobs.push(ids));
    const ids = newDeliveryIds(130);
    await queue.enqueue(due(ids));
    await vi.waitFor(() => expect(jobs.flat().toSorted()).toEqual(ids.toSorted()), limit);
    expect(Math.max(...jobs.map((job) => job.length))).toBe(50);
    expect(errors).toEqual([]);
  });

  test('more jobs than are added one by one arrive too', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const ids = newDeliveryIds(1020);
    await queue.enqueue(due(ids));
    expect(await queue.countReady()).toBe(21);
    const handled: DeliveryId[] = [];
    await using _consumer = await consume(async (job) => void handled.push(...job));
    await vi.waitFor(() => expect(handled.toSorted()).toEqual(ids.toSorted()), limit);
  });

  test('jobs are counted by whether they wait, run or have to wait for their time', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    await queue.enqueue(due(newDeliveryIds(120)));
    await queue.enqueue(due(newDeliveryIds(2)), { delayMs: 3_600_000 });
    expect(await queue.countJobs()).toEqual({ waiting: 3, active: 0, delayed: 2 });
    const gate = Promise.withResolvers<void>();
    await using _consumer = await consume(async () => await gate.promise);
    const active = await vi.waitFor(async () => {
      const counts = await queue.countJobs();
      expect(counts).toMatchObject({ waiting: 3 - counts.active, delayed: 2 });
      expect(counts.active).toBeGreaterThan(0);
      return counts.active;
    }, limit);
    expect(active).toBeLessThanOrEqual(3);
    gate.resolve();
    await vi.waitFor(async () => expect(await queue.countJobs()).toEqual({ waiting: 0, active: 0, delayed: 2 }), limit);
  });

  test('concurrent calls share a job', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const ids = newDeliveryIds(40);
    await Promise.all(ids.map(async (id) => await queue.enqueue(due([id]))));
    expect(await queue.countReady()).toBe(1);
    const jobs: DeliveryId[][] = [];
    await using _consumer = await consume(async (job) => void jobs.push(job));
    await vi.waitFor(() => expect(jobs).toEqual([ids]), limit);
  });

  test('delayed deliveries run alone, not before their delay, and do not count as ready', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const jobs: { ids: DeliveryId[]; afterMs: number }[] = [];
    const startedAt = performance.now();
    await using _consumer = await consume(
      async (ids) => void jobs.push({ ids, afterMs: performance.now() - startedAt }),
    );
    const ids = newDeliveryIds(2);
    await queue.enqueue(due(ids), { delayMs: 250 });
    expect(await queue.countReady()).toBe(0);
    await vi.waitFor(() => expect(jobs).toHaveLength(2), limit);
    expect(jobs.map((job) => job.ids.length)).toEqual([1, 1]);
    // The two clocks are rounded to milliseconds on their own.
    for (const job of jobs) expect(job.afterMs).toBeGreaterThanOrEqual(248);
    for (const job of jobs) expect(job.afterMs).toBeLessThan(2000);
  });

  test('two consumers share the work and handle nothing twice', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const handled: DeliveryId[] = [];
    const busy = new Set<string>();
    const bothBusy = createGate();
    const handleAs = (name: string) => async (ids: DeliveryId[]) => {
      busy.add(name);
      if (busy.size === 2) bothBusy.open();
      await bothBusy.opened;
      handled.push(...ids);
    };
    await using _first = await consume(handleAs('first'), { jobConcurrency: 1 });
    await using _second = await consume(handleAs('second'), { jobConcurrency: 1 });
    const ids = newDeliveryIds(500);
    await queue.enqueue(due(ids));
    await vi.waitFor(() => expect(handled.toSorted()).toEqual(ids.toSorted()), limit);
  });

  test('a handler that throws is reported, is not retried, and the consumer goes on', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const handled: DeliveryId[] = [];
    await using _consumer = await consume(async (ids) => {
      handled.push(...ids);
      if (handled.length === 1) throw new Error('handler broke');
    });
    const [first, second] = [newDeliveryIds(1), newDeliveryIds(1)];
    await queue.enqueue(due(first));
    await vi.waitFor(() => expect(errors.map((error) => error.message)).toEqual(['handler broke']), limit);
    await queue.enqueue(due(second));
    await vi.waitFor(() => expect(handled).toEqual([...first, ...second]), limit);
    await vi.waitFor(async () => expect(await queue.countReady()).toBe(0), limit);
  });

  test.each([
    ['no deliveries', { due: [], urgency: 'normal' }],
    ['ids of another kind', jobOf(['evt_01h455vb4pex5vsknk084sn02q'])],
    ['an unknown urgency', { ...jobOf(newDeliveryIds(1)), urgency: 'soon' }],
    ['another shape', { deliveries: 'all' }],
    ['more than 50 deliveries', jobOf(newDeliveryIds(51))],
  ])('a job with %s is reported and dropped', async (_what, data) => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const handled: DeliveryId[] = [];
    await withBullQueue(connection, 'posthorn-deliveries', async (bull) => await bull.add('deliver', data));
    await using _consumer = await consume(async (ids) => void handled.push(...ids));
    const ids = newDeliveryIds(1);
    await queue.enqueue(due(ids));
    await vi.waitFor(() => expect(handled).toEqual(ids), limit);
    await vi.waitFor(async () => expect(await queue.countReady()).toBe(0), limit);
    expect(errors).toHaveLength(1);
    expect(errors[0]?.message).toMatch(/^job .* of posthorn-deliveries carries no deliveries/);
  });

  test('finished jobs leave nothing behind', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    let jobCount = 0;
    await using _consumer = await consume(async () => {
      jobCount += 1;
      if (jobCount === 2) throw new Error('handler broke');
    });
    for (let call = 0; call < 3; call += 1) await queue.enqueue(due(newDeliveryIds(1)));
    await vi.waitFor(() => expect(jobCount).toBe(3), limit);
    await withBullQueue(connection, 'posthorn-deliveries', async (bull) => {
      await vi.waitFor(async () => {
        const counts = await bull.getJobCounts();
        expect(Object.values(counts).every((count) => count === 0)).toBe(true);
      }, limit);
    });
  });

  test('disposing a consumer waits for the running handler and takes nothing new', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const started = createGate();
    const release = createGate();
    let handledCount = 0;
    const consumer = await consume(
      async () => {
        started.open();
        await release.opened;
        handledCount += 1;
      },
      { jobConcurrency: 1 },
    );
    await queue.enqueue(due(newDeliveryIds(1)));
    await started.opened;
    const disposed = Promise.resolve(consumer[Symbol.asyncDispose]());
    await queue.enqueue(due(newDeliveryIds(1)));
    expect(await isPendingAfter(300, disposed)).toBe(true);
    release.open();
    await disposed;
    expect(handledCount).toBe(1);
    expect(await queue.countReady()).toBe(1);
  });

  test('disposing an idle consumer is quick', async () => {
    const consumer = await consume(async () => {});
    const startedAt = performance.now();
    await consumer[Symbol.asyncDispose]();
    expect(performance.now() - startedAt).toBeLessThan(2000);
  });

  test('a handler that outlasts the stop limit is asked to stop by its signal', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const started = createGate();
    let aborted = false;
    const consumer = await consume(
      async (_ids, signal) => {
        started.open();
        await once(signal, 'abort');
        aborted = true;
      },
      { stopLimitMs: 50 },
    );
    await queue.enqueue(due(newDeliveryIds(1)));
    await started.opened;
    await consumer[Symbol.asyncDispose]();
    expect(aborted).toBe(true);
    expect(errors).toEqual([]);
  });

  test('the job of a killed worker goes to another worker', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    const module = path.resolve(import.meta.dirname, '../../src/queue.ts');
    const script = `
      import { startDeliveryConsumer } from ${JSON.stringify(module)};
      await startDeliveryConsumer(${JSON.stringify(connection)}, {
        jobConcurrency: 1, lockMs: 1000, onError: console.error,
        handle: () => { console.log('taken'); return new Promise(() => {}); },
      });`;
    const ids = newDeliveryIds(1);
    await queue.enqueue(due(ids));
    const worker = spawn(process.execPath, ['--input-type=module', '--eval', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(worker.stdout, 'data');
    worker.kill('SIGKILL');
    await once(worker, 'exit');
    const handled: DeliveryId[] = [];
    await using _consumer = await consume(async (job) => void handled.push(...job), { lockMs: 1000 });
    await vi.waitFor(() => expect(handled).toEqual(ids), limit);
  });

  test('namespaces on one server do not see each other', async () => {
    await using queue = await startDeliveryQueue(connection, { onError });
    await using other = await startDeliveryQueue(await newNamespace(), { onError });
    await queue.enqueue(due(newDeliveryIds(1)));
    expect(await queue.countReady()).toBe(1);
    expect(await other.countReady()).toBe(0);
    await other.ping();
  });

  test('a schedule runs repeatedly, once per tick on three hosts', async () => {
    const runs: number[] = [];
    const schedule = { name: 'tick', everyMs: 100, run: async () => void runs.push(performance.now()) };
    const startedAt = performance.now();
    await using hosts = new AsyncDisposableStack();
    for (let host = 0; host < 3; host += 1) hosts.use(await startSchedules(connection, [schedule], { onError }));
    await vi.waitFor(() => expect(runs.length).toBeGreaterThanOrEqual(12), limit);
    // From the start and not from the first run, which may have been late. One more than the intervals, and one under way.
    const elapsedMs = (runs.at(-1) ?? 0) - startedAt;
    expect(runs.length).toBeLessThanOrEqual(elapsedMs / 100 + 2);
    expect(errors).toEqual([]);
  });

  test('a run that is slower than its ticks is never beside itself, and keeps no other schedule from running', async () => {
    const slowRuns: (() => void)[] = [];
    let quickCount = 0;
    const slow = async (signal: AbortSignal): Promise<void> =>
      await new Promise((resolve) => {
        slowRuns.push(resolve);
        signal.addEventListener('abort', () => resolve());
      });
    const quick = async (): Promise<void> => void (quickCount += 1);
    const schedules = [
      { name: 'slow', everyMs: 50, run: slow },
      { name: 'quick', everyMs: 100, run: quick },
    ];
    await using _host = await startSchedules(connection, schedules, { onError });
    await vi.waitFor(() => expect(quickCount).toBeGreaterThanOrEqual(8), limit);
    expect(slowRuns).toHaveLength(1);
    slowRuns[0]?.();
    await vi.waitFor(() => expect(slowRuns).toHaveLength(2), limit);
    expect(errors).toEqual([]);
  });

  test('a schedule that throws is reported and runs at its next tick', async () => {
    let runCount = 0;
    const failing = async (): Promise<void> => {
      runCount += 1;
      throw new Error('schedule broke');
    };
    await using _host = await startSchedules(connection, [{ name: 'tick', everyMs: 50, run: failing }], { onError });
    await vi.waitFor(() => expect(runCount).toBeGreaterThanOrEqual(3), limit);
    expect(errors[0]?.message).toBe('schedule broke');
  });

  test('schedules that are no longer in the list vanish, changed ones change, and others are left alone', async () => {
    const before = [
      { name: 'kept', cron: '0 3 * * *', run },
      { name: 'changed', everyMs: 3_600_000, run },
      { name: 'gone', everyMs: 3_600_000, run },
    ];
    await (await startSchedules(connection, before, { onError }))[Symbol.asyncDispose]();
    const stored = await withBullQueue(connection, 'posthorn-schedules', async (bull) => await bull.getJobSchedulers());
    expect(stored.map(({ key }) => key).toSorted()).toEqual(['changed', 'gone', 'kept']);
    const after = [
      { name: 'kept', cron: '0 3 * * *', run },
      { name: 'changed', everyMs: 7_200_000, run },
    ];
    await using _host = await startSchedules(connection, after, { onError });
    const now = await withBullQueue(connection, 'posthorn-schedules', async (bull) => await bull.getJobSchedulers());
    const times = Object.fromEntries(now.map(({ key, every, pattern, tz }) => [key, { every, pattern, tz }]));
    expect(times['kept']).toMatchObject({ pattern: '0 3 * * *', tz: 'UTC' });
    expect(times['changed']?.every).toBe(7_200_000);
    expect(Object.keys(times)).toHaveLength(2);
  });

  test('a schedule that is running when its host is disposed is asked to stop', async () => {
    const started = createGate();
    let aborted = false;
    const long = async (signal: AbortSignal): Promise<void> => {
      started.open();
      await once(signal, 'abort');
      aborted = true;
    };
    const host = await startSchedules(connection, [{ name: 'long', everyMs: 100, run: long }], { onError });
    await started.opened;
    await host[Symbol.asyncDispose]();
    expect(aborted).toBe(true);
  });
});
