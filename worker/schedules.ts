import { recover } from './recover.ts';
import { createReport } from './report.ts';
import { retryStuck, sweep, type SweepDeps } from './sweep.ts';
import type { Schedule } from '../src/queue.ts';
import type { AnnounceDeps } from './announce.ts';
import type { Health } from './health.ts';
import type { WorkerDeps } from './worker.ts';

const retryStuckEveryMs = 5 * 60_000;
/** After an outage every worker has recorded what it had sent within so many milliseconds. */
const recordedWithinMs = 3_000;
const healthEveryMs = 60_000;
/** How long a recovery waits for its first step, and how evenly it goes on. */
const recoverEveryMs = 1_000;

/** What schedules run on. */
export interface ScheduleParts {
  sweeping: SweepDeps;
  announcing: AnnounceDeps;
  health: Health;
}

/** What repeats, once per tick in the whole deployment. Each may run twice or late, or not for as long as the database is away. */
export function createSchedules(deps: WorkerDeps, parts: ScheduleParts): Schedule[] {
  return listSchedules(deps, parts).map((schedule) => pausedByOutage(schedule, deps));
}

/**
 * The schedule, which leaves out the ticks at which the database is away or has just come back: claims may have become stale
 * meanwhile whose attempts have been made, and other workers, who probe each in their time, are about to record them.
 */
function pausedByOutage(schedule: Schedule, { database, logger }: WorkerDeps): Schedule {
  const report = createReport(logger, 'error', database);
  return {
    ...schedule,
    run: async (signal) => {
      if (database.outage.wasOnWithin(recordedWithinMs)) return;
      await schedule.run(signal).catch((error: unknown) => report(`${schedule.name} failed`, error));
    },
  };
}

function listSchedules(
  { database, logger, settings }: WorkerDeps,
  { sweeping, announcing, health }: ScheduleParts,
): Schedule[] {
  const recovering = { database, announcing, settings };
  return [
    {
      name: 'sweep',
      everyMs: settings.sweepIntervalMs,
      run: async (signal) => {
        const enqueuedCount = await sweep(sweeping, signal);
        if (enqueuedCount > 0) logger.info({ enqueuedCount }, 'sweep');
      },
    },
    {
      name: 'retry-stuck',
      everyMs: retryStuckEveryMs,
      run: async () => {
        const enqueuedCount = await retryStuck(sweeping);
        if (enqueuedCount > 0) logger.warn({ enqueuedCount }, 'retry-stuck');
      },
    },
    {
      name: 'recover',
      everyMs: recoverEveryMs,
      run: async (signal) => {
        const resentCount = await recover(recovering, signal);
        if (resentCount > 0) logger.info({ resentCount }, 'recover');
      },
    },
    {
      name: 'health',
      everyMs: healthEveryMs,
      run: async (signal) => {
        const disabledCount = await health.disableLongFailing(signal);
        if (disabledCount > 0) logger.warn({ disabledCount }, 'health');
      },
    },
  ];
}
