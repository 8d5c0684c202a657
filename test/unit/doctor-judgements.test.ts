import { expect, test } from 'vitest';
import { judgeConnections, judgeWrites } from '../../src/doctor/examine-server.ts';
import { judgeSharing } from '../../src/doctor/examine-sharing.ts';
import { judgeEncryption } from '../../src/doctor/judge-encryption.ts';
import { judgeStop } from '../../src/doctor/judge-settings.ts';
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

const server = { isStandby: false, isReadOnly: false, allowedCount: 97, openCount: 10, isEncrypted: false };

test.each([
  [{}, 'ok'],
  [{ isStandby: true }, 'failed'],
  [{ isReadOnly: true }, 'failed'],
])('a server with %j is %s for writes', (facts, status) => {
  expect(judgeWrites({ ...server, ...facts }).status).toBe(status);
});

test.each([
  [{}, 'ok'],
  [{ allowedCount: 33 }, 'warning'],
  [{ allowedCount: 34, openCount: 3 }, 'ok'],
  [{ openCount: 90 }, 'warning'],
])('a server with %j is %s for its connections', (facts, status) => {
  expect(judgeConnections({ ...server, ...facts }).status).toBe(status);
});

test.each([
  ['db.example.com', 'warning'],
  ['8.8.8.8', 'warning'],
  ['[2606:4700::1]', 'warning'],
  ['postgres', 'ok'],
  ['localhost', 'ok'],
  ['10.0.0.7', 'ok'],
  ['[::1]', 'ok'],
  ['/var/run/postgresql', 'ok'],
  ['db.prod.internal', 'ok'],
])('a connection to %s without encryption is %s, with it ok', (host, status) => {
  expect(judgeEncryption('any', host, false, 'Encrypt it.').status).toBe(status);
  expect(judgeEncryption('any', host, true, 'Encrypt it.').status).toBe('ok');
});

test('an attempt that may take longer than a stop is told of', () => {
  expect(judgeStop({ attemptTimeoutMs: 10_000 }).status).toBe('ok');
  expect(judgeStop({ attemptTimeoutMs: 15_000 })).toMatchObject({
    status: 'warning',
    message: expect.stringContaining('WEBHOOK_TIMEOUT 15'),
  });
});

test('projects in the feed that the database lacks are told of', () => {
  expect(judgeSharing(3, 0).status).toBe('ok');
  expect(judgeSharing(3, 1)).toMatchObject({
    status: 'warning',
    message: expect.stringContaining('another deployment'),
  });
});
