import { retryStuck, sweep, type SweepDeps } from './sweep.ts';
import type { Schedule } from '../src/queue.ts';
import type { Health } from './health.ts';
import type { WorkerDeps } from './worker.ts';

const retryStuckEveryMs = 5 * 60_000;
const healthEveryMs = 60_000;

/** What repeats, once per tick in the whole deployment. Each may run twice or late without harm. */
export function createSchedules({ logger, settings }: WorkerDeps, sweeping: SweepDeps, health: Health): Schedule[] {
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
      name: 'health',
      everyMs: healthEveryMs,
      run: async (signal) => {
        const disabledCount = await health.disableLongFailing(signal);
        if (disabledCount > 0) logger.warn({ disabledCount }, 'health');
      },
    },
  ];
}
