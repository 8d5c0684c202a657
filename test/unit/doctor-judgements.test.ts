import { expect, test } from 'vitest';
import { judgeBacklog, judgeClock, judgeMigrations } from '../../src/doctor/judge-database.ts';

test.each([
  [0, 0, 'ok'],
  [-4_900, 0, 'ok'],
  [5_100, 0, 'warning'],
  [-59_000, 0, 'warning'],
  [3_600_000, 0, 'failed'],
  [-3_600_000, 10, 'failed'],
])('a clock %d ms ahead, asked in %d ms, is %s', (aheadMs, roundTripMs, status) => {
  expect(judgeClock(aheadMs, roundTripMs).status).toBe(status);
});

test('what asking took is no skew', () => {
  expect(judgeClock(5_400, 1_000).status).toBe('ok');
});

const upToDate = { pending: [], unfinished: [], unknown: [] };

test.each([
  [upToDate, 'ok'],
  [{ ...upToDate, unknown: ['2030_new'] }, 'warning'],
  [{ ...upToDate, pending: ['2026_api'] }, 'failed'],
  [{ ...upToDate, pending: ['2026_api'], unfinished: ['2026_api'] }, 'failed'],
])('migrations %j are %s', (state, status) => {
  expect(judgeMigrations(state).status).toBe(status);
});

const now = new Date('2026-01-01T12:00:00Z');
const config = { sweepGraceMs: 10_000, sweepIntervalMs: 5_000 };

function secondsAgo(seconds: number): Date {
  return new Date(now.getTime() - seconds * 1000);
}

test.each([
  [{ overdueCount: 0, oldestDueAt: null, sweptUntil: secondsAgo(12) }, ['ok', 'ok']],
  [{ overdueCount: 3, oldestDueAt: secondsAgo(60), sweptUntil: secondsAgo(12) }, ['ok', 'ok']],
  [{ overdueCount: 3, oldestDueAt: secondsAgo(80), sweptUntil: secondsAgo(80) }, ['warning', 'warning']],
  [{ overdueCount: 0, oldestDueAt: null, sweptUntil: null }, ['ok', 'warning']],
])('%j is judged %j', (backlog, statuses) => {
  expect(judgeBacklog(backlog, config, now).map(({ status }) => status)).toEqual(statuses);
});
