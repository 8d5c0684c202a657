import { cleanUpDaily } from './cleanup.ts';
import { recover } from './recover.ts';
import { retryStuck, sweep, type SweepDeps } from './sweep.ts';
import type { Schedule } from '../src/queue.ts';
import type { AnnounceDeps } from './announce.ts';
import type { Health } from './health.ts';
import type { WorkerDeps, WorkerSettings } from './worker.ts';

const retryStuckEveryMs = 5 * 60_000;
const healthEveryMs = 60_000;
/** How often it is looked whether the daily cleanup is due, as at 03:00 it is. */
const cleanupCron = '* * * * *';
/** How long a recovery waits for its first step, and how evenly it goes on. */
const recoverEveryMs = 1_000;

/** What schedules run on. */
export interface ScheduleParts {
  sweeping: SweepDeps;
  announcing: AnnounceDeps;
  health: Health;
}

/** What they need of a worker. */
export interface ScheduleDeps extends Pick<WorkerDeps, 'database' | 'logger' | 'meter'> {
  settings: Pick<WorkerSettings, 'maxAttempts' | 'disableAfterMs' | 'retentionDays' | 'sweepIntervalMs'>;
}

/** What repeats, once per tick in the whole deployment. Each may run twice or late without harm. */
export function createSchedules(
  { database, logger, meter, settings }: ScheduleDeps,
  { sweeping, announcing, health }: ScheduleParts,
): Schedule[] {
  const { retentionDays } = settings;
  const recovering = { database, announcing, settings };
  return [
    {
      name: 'sweep',
      everyMs: settings.sweepIntervalMs,
      run: async (signal) => {
        const enqueuedCount = await sweep(sweeping, signal);
        meter?.enqueuedAgain('sweep', enqueuedCount);
        if (enqueuedCount > 0) logger.info({ enqueuedCount }, 'sweep');
      },
    },
    {
      name: 'retry-stuck',
      everyMs: retryStuckEveryMs,
      run: async () => {
        const enqueuedCount = await retryStuck(sweeping);
        meter?.enqueuedAgain('retry-stuck', enqueuedCount);
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
    ...cleanupSchedules(retentionDays, async (days, signal) => {
      const removed = await cleanUpDaily(database, { retentionDays: days }, signal);
      if (removed !== null) logger.info(removed, 'cleanup');
    }),
  ];
}

/** None when history is kept for ever. */
function cleanupSchedules(
  retentionDays: number | null,
  run: (retentionDays: number, signal: AbortSignal) => Promise<void>,
): Schedule[] {
  if (retentionDays === null) return [];
  return [{ name: 'cleanup', cron: cleanupCron, run: async (signal) => await run(retentionDays, signal) }];
}
