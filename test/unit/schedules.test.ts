import { pino } from 'pino';
import { expect, test } from 'vitest';
import { createSchedules } from '../../worker/schedules.ts';
import type { Pipelines } from '../../src/store/pipelines.ts';
import type { ScheduleParts } from '../../worker/schedules.ts';

/** Name and clock of each schedule of a worker that keeps history for so long; none of them is run. */
function clocksOf(retentionDays: number | null): unknown[] {
  const settings = { maxAttempts: 6, disableAfterMs: 1, sweepIntervalMs: 5_000, retentionDays };
  const deps = { database: {} as Pipelines, logger: pino({ enabled: false }), settings };
  return createSchedules(deps, {} as ScheduleParts).map(({ run: _run, ...clock }) => clock);
}

test('a worker sweeps, retries what is stuck, recovers, looks at health, and asks each minute whether to clean up', () => {
  expect(clocksOf(30)).toEqual([
    { name: 'sweep', everyMs: 5_000 },
    { name: 'retry-stuck', everyMs: 300_000 },
    { name: 'recover', everyMs: 1_000 },
    { name: 'health', everyMs: 60_000 },
    { name: 'cleanup', cron: '* * * * *' },
  ]);
});

test('a deployment that keeps history for ever has no cleanup', () => {
  expect(clocksOf(null)).toHaveLength(4);
  expect(JSON.stringify(clocksOf(null))).not.toContain('cleanup');
});
