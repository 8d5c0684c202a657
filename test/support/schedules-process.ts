import { pino } from 'pino';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { startDeliveryQueue, startSchedules } from '../../src/queue.ts';
import { openPipelines } from '../../src/store/pipelines.ts';
import { createHealth } from '../../worker/health.ts';
import { createSchedules } from '../../worker/schedules.ts';
import type { QueueConnection, Schedule } from '../../src/queue.ts';

// All schedules of a worker in a process of their own, each with its own work but ticking every so many milliseconds. Prints
// a line of JSON at the start and at the end of every run.

const { DATABASE_URL = '', QUEUE = '', EVERY_MS = '' } = process.env;
const connection = JSON.parse(QUEUE) as QueueConnection;
const onError = (error: unknown): void => void process.stderr.write(`${String(error)}\n`);

const database = openPipelines(DATABASE_URL);
const queue = await startDeliveryQueue(connection, { onError });
const announcing = {
  feed: createInProcessFeed(),
  queue,
  now: () => new Date(),
  onLost: (message: string, error: unknown) => onError(new Error(message, { cause: error })),
};
const settings = {
  maxAttempts: 6,
  disableAfterMs: 3_600_000,
  retentionDays: 30,
  sweepIntervalMs: 1_000,
};
const schedules = createSchedules(
  { database, settings, logger: pino({ enabled: false }) },
  {
    sweeping: { database, queue, settings: { graceMs: 10_000, claimLeaseMs: 60_000 } },
    announcing,
    health: createHealth(database, announcing, settings),
  },
);

function print(name: string, what: 'start' | 'end'): void {
  process.stdout.write(`${JSON.stringify({ name, what, atMs: Date.now() })}\n`);
}

function quick({ name, run }: Schedule): Schedule {
  return {
    name,
    everyMs: Number(EVERY_MS),
    run: async (signal) => {
      print(name, 'start');
      await run(signal);
      print(name, 'end');
    },
  };
}

await startSchedules(connection, schedules.map(quick), { onError });
