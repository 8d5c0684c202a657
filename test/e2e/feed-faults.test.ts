import { setTimeout as after } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { startCrashProcesses } from '../support/crash-processes.ts';
import type { CrashProcesses } from '../support/crash-processes.ts';
import { createCrashProject, emitThroughCrashes } from '../support/crash-projects.ts';
import type { CrashProject } from '../support/crash-projects.ts';
import { untilFound } from '../support/e2e-client.ts';
import { createStack } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { startFeedMirror } from '../support/feed-mirror.ts';
import type { FeedMirror } from '../support/feed-mirror.ts';
import { runPosthorn } from '../support/posthorn.ts';
import { startReceiver } from '../support/receiver.ts';
import type { Receiver } from '../support/receiver.ts';
import { startTestRedis } from '../support/redis.ts';
import type { TestRedis } from '../support/redis.ts';

// A client that follows the feed ends with the state of every delivery as PostgreSQL has it, whatever becomes of the
// volatile Redis and of the workers meanwhile. Nothing but the feed tells it that it has missed something.

const eventCount = 300;
const webhookCount = 2;
/** Between two events: 300 of them take about 9 s, in the midst of which is the fault. */
const emitPauseMs = 25;
const endLimitMs = 60_000;
/** A dead publisher is noticed after 10 s. */
const toldLimitMs = 20_000;
const seed = Number(process.env['CRASH_SEED'] ?? Date.now() % 2 ** 31);

let stack: E2eStack;
let redis: TestRedis;
let database: Database;
let processes: CrashProcesses;
let receiver: Receiver;
let project: CrashProject;
const owned = new AsyncDisposableStack();

beforeAll(async () => {
  redis = await startTestRedis();
  stack = owned.use(
    await createStack('redis', { REDIS_URI_VOLATILE: redis.url, WEBHOOK_TIMEOUT: '1', SWEEP_INTERVAL: '0.3' }),
  );
  const migrated = runPosthorn(['migrate'], stack.env);
  const { code } = await migrated.ended;
  if (code !== 0) throw new Error(`posthorn migrate ended with ${code}:\n${migrated.output()}`);
  database = owned.use(openDatabase(stack.env['DATABASE_URL'] ?? ''));
  // Every seventh request is to be made again.
  receiver = owned.use(await startReceiver((_request, index) => (index % 7 === 0 ? { status: 500 } : {})));
  processes = owned.use(await startCrashProcesses(stack, { command: 'worker', count: 2 }));
});
afterAll(async () => {
  redis?.thaw();
  await owned.disposeAsync();
  await redis?.[Symbol.asyncDispose]();
});

let runCount = 0;
beforeEach(async () => {
  const urls = Array.from({ length: webhookCount }, () => receiver.url);
  runCount += 1;
  project = owned.use(await createCrashProject(database, processes.endpoint, `Faults ${runCount}`, urls));
});

/** The state of every delivery of the project's webhooks, by id. */
async function ledger(): Promise<Map<string, string>> {
  const { rows } = await database.pipeline.query<{ id: string; status: string; attempt_count: number }>({
    text: `select d.id, d.status, d.attempt_count from deliveries d join webhooks w on w.id = d.webhook_id
           where w.name = $1`,
    values: [`Faults ${runCount}`],
  });
  return new Map(rows.map((row) => [idFromUuid('delivery', row.id), `${row.status} ${row.attempt_count}`]));
}

async function emitAll(): Promise<number> {
  let slowestMs = 0;
  for (let number = 0; number < eventCount; number += 1) {
    const startedAtMs = performance.now();
    await emitThroughCrashes(project, number);
    slowestMs = Math.max(slowestMs, performance.now() - startedAtMs);
    await after(emitPauseMs);
  }
  return slowestMs;
}

/** Emits while the fault happens, and resolves when the mirror shows what the ledger does and, if it must, was told of a loss. */
async function mirrorThrough(
  fault: () => Promise<void>,
  expires = false,
): Promise<FeedMirror & { slowestEmitMs: number }> {
  const mirror = await startFeedMirror(project.client);
  await using _following = mirror;
  const before = receiver.requests.length;
  const emitting = emitAll();
  await receiver.waitFor(before + 100, endLimitMs);
  await fault();
  const slowestEmitMs = await emitting;
  const delivered = await untilFound(
    'all deliveries to be delivered',
    async () => {
      const states = await ledger();
      return states.size === eventCount * webhookCount && [...states.values()].every(isEnd) ? states : null;
    },
    endLimitMs,
  ).catch((cause: unknown) => {
    throw new Error(`the run did not end, after:\n${processes.output()}`, { cause });
  });
  await untilFound(
    'the mirror to show the ledger',
    async () =>
      [...delivered].every(([id, state]) => mirror.states.get(id) === state) && (!expires || mirror.expiredCount() > 0)
        ? true
        : null,
    toldLimitMs,
  ).catch((cause: unknown) => {
    throw new Error(`the mirror is wrong: ${JSON.stringify(wrongOf(mirror, delivered))}`, { cause });
  });
  expect(mirror.states.size).toBe(delivered.size);
  return { ...mirror, slowestEmitMs };
}

function isEnd(state: string): boolean {
  return state.startsWith('DELIVERED');
}

function wrongOf({ states, reasons }: FeedMirror, delivered: Map<string, string>): unknown {
  const wrong = [...delivered].filter(([id, state]) => states.get(id) !== state);
  return { count: wrong.length, some: wrong.slice(0, 5).map(([id, state]) => [id, state, states.get(id)]), reasons };
}

function print(what: string, mirror: FeedMirror, more = ''): void {
  process.stdout.write(
    `${what}: cursors expired ${mirror.expiredCount()} times, interrupted ${mirror.interruptedCount()} times${more}\n`,
  );
}

/** What each worker logs from now on, until it is asked for. */
function watchLogs(): () => string[][] {
  const from = processes.lives.map(({ running }) => ({ running, length: running.output().length }));
  return () =>
    from.map(({ running, length }) => {
      const lines = running.output().slice(length).split('\n');
      return lines.flatMap((line) => (line.startsWith('{') ? (JSON.parse(line) as { msg: string }).msg : []));
    });
}

/** That it began and that it is over; once more when one connection found the way back later than the others. */
function expectTwoLines(logs: string[][]): void {
  for (const messages of logs) {
    expect(new Set(messages)).toEqual(
      new Set(['outage: a server is away; it is probed until it is back', 'outage over']),
    );
    expect(messages.length).toBeLessThanOrEqual(4);
  }
}

const limits = { timeout: 240_000 };

// The first, since a worker that another one kills is noticed after its end.
test('workers that are restarted one after the other, which expires nothing', limits, async () => {
  const mirror = await mirrorThrough(async () => {
    for (let count = 0; count < 4; count += 1) {
      await Promise.all(processes.lives.map(async ({ ready }) => await ready));
      await processes.kill(processes.lives.slice(0, 1), 'SIGTERM');
      processes.replace();
    }
  });
  print('restarted', mirror);
  expect(mirror.reasons).toEqual([]);
});

test('a volatile Redis that is killed and comes back empty, which a worker logs as an outage', limits, async () => {
  const logsSince = watchLogs();
  const mirror = await mirrorThrough(async () => {
    await redis.kill();
    await after(1_000);
    const { port } = redis;
    await redis[Symbol.asyncDispose]();
    redis = await startTestRedis({ port });
  });
  print('killed', mirror);
  expect(mirror.expiredCount()).toBeGreaterThan(0);
  expectTwoLines(logsSince());
});

test('a volatile Redis that is frozen for six seconds, in which deliveries go on', limits, async () => {
  let arrivedCount = 0;
  const logsSince = watchLogs();
  const mirror = await mirrorThrough(async () => {
    const before = receiver.requests.length;
    redis.freeze();
    await after(6_000);
    redis.thaw();
    arrivedCount = receiver.requests.length - before;
  });
  const { slowestEmitMs } = mirror;
  print('frozen', mirror, `; ${arrivedCount} requests meanwhile; slowest emit ${Math.round(slowestEmitMs)} ms`);
  expect(mirror.expiredCount()).toBeGreaterThan(0);
  expect(mirror.interruptedCount()).toBeGreaterThan(0);
  expect(arrivedCount).toBeGreaterThan(100);
  expect(slowestEmitMs).toBeLessThan(2_000);
  expectTwoLines(logsSince());
});

test('workers that are killed with kill -9 at random moments', limits, async () => {
  process.stdout.write(`kill -9 of workers: CRASH_SEED=${seed}\n`);
  const mirror = await mirrorThrough(async () => {
    for (let count = 0; count < 4; count += 1) {
      await Promise.all(processes.lives.map(async ({ ready }) => await ready));
      await after((seed % (97 + count)) * 3);
      await processes.kill(processes.lives.slice(0, 1));
      processes.replace();
    }
  }, true);
  print('workers killed', mirror);
  expect(mirror.expiredCount()).toBeGreaterThan(0);
});
