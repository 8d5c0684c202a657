import { Counter, Histogram } from 'prom-client';
import type { Registry } from 'prom-client';
import type { Administration } from '../../schema/context.ts';
import type { TimeRun } from '../../worker/worker-meter.ts';

/** From a sweep that finds nothing to a cleanup of millions. */
const buckets = [0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 300, 1_800];

/** Creates what measures the runs of everything that repeats, by the clock or by hand. */
export function createScheduleTimer(registry: Registry): TimeRun {
  const runs = new Counter({
    name: 'posthorn_schedule_runs_total',
    help: 'Runs of what repeats, by the clock or by hand, by outcome: completed or failed.',
    labelNames: ['schedule', 'outcome'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'posthorn_schedule_run_duration_seconds',
    help: 'How long runs of what repeats took.',
    labelNames: ['schedule'],
    buckets,
    registers: [registry],
  });
  return async (schedule, run) => {
    const startedAtMs = performance.now();
    let outcome = 'failed';
    try {
      const result = await run();
      outcome = 'completed';
      return result;
    } finally {
      runs.inc({ schedule, outcome });
      duration.observe({ schedule }, (performance.now() - startedAtMs) / 1000);
    }
  };
}

/** Administration whose runs by hand are measured as those of the clock are. */
export function timeAdministration(timeRun: TimeRun, administration: Administration): Administration {
  return {
    ...administration,
    sweep: async (...args) => await timeRun('sweep', async () => await administration.sweep(...args)),
    retryStuck: async (...args) => await timeRun('retry-stuck', async () => await administration.retryStuck(...args)),
    cleanup: async (...args) => await timeRun('cleanup', async () => await administration.cleanup(...args)),
  };
}
