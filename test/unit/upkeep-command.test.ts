import { expect, test } from 'vitest';
import { retentionInstants } from '../../src/domain/upkeep.ts';
import { parseDays, parseLimit } from '../../src/upkeep-arguments.ts';
import { cleanupSentence, enqueuedSentence } from '../../src/upkeep-sentences.ts';

const removed = { eventCount: 1, deliveryCount: 1_200, attemptCount: 0, recoveryCount: 1, auditEntryCount: 2 };

test('days are those that are named, or those of the deployment', () => {
  expect(parseDays('1', null)).toBe(1);
  expect(parseDays('3650', 30)).toBe(3_650);
  expect(parseDays(undefined, 45)).toBe(45);
  expect(() => parseDays(undefined, null)).toThrow('--days must be given: WEBHOOK_RETENTION_DAYS is 0');
});

test.each(['0', '3651', '-1', '1.5', '1e2', ' 30', '', 'thirty'])('days %j are refused with their value', (text) => {
  expect(() => parseDays(text, 30)).toThrow(`--days ${JSON.stringify(text)} must be a whole number from 1 to 3650.`);
});

test('a limit is from 1 to 10,000, and that when it is not named', () => {
  expect([parseLimit(undefined), parseLimit('1'), parseLimit('10000')]).toEqual([10_000, 1, 10_000]);
  for (const text of ['0', '10001', 'all']) expect(() => parseLimit(text)).toThrow(`--limit "${text}" must be`);
});

test('an audit entry outlives the history, for a year at least', () => {
  const now = new Date('2026-06-30T03:00:00Z');
  expect(retentionInstants(now, 30)).toEqual({
    olderThan: new Date('2026-05-31T03:00:00Z'),
    auditOlderThan: new Date('2025-06-30T03:00:00Z'),
  });
  expect(retentionInstants(now, 730).auditOlderThan).toEqual(new Date('2024-06-30T03:00:00Z'));
});

test('a cleanup says in one sentence what it removed', () => {
  expect(cleanupSentence(30, { ...removed, finished: true })).toBe(
    'Removed 1 event, 1,200 deliveries, 0 attempts, 1 recovery and 2 audit entries that ended more than 30 days ago.',
  );
});

test('a cleanup that a signal stopped says how far it came', () => {
  const sentence = cleanupSentence(1, { ...removed, finished: false });
  expect(sentence).toMatch(
    /^Stopped by a signal\. Removed 1 event, .* more than 1 day ago\. The next cleanup goes on\.$/,
  );
});

test('what is enqueued where nobody runs waits for the next start, and the sentence says so', () => {
  const given = { enqueuedCount: 1, alone: true, finished: true };
  expect(enqueuedSentence('stuck', given)).toBe(
    'Gave 1 stuck delivery to the workers; no Posthorn runs here, so they go out at its next start.',
  );
  expect(enqueuedSentence('overdue', { ...given, enqueuedCount: 0 })).toBe('Gave 0 overdue deliveries to the workers.');
  expect(enqueuedSentence('overdue', { ...given, alone: false, finished: false })).toBe(
    'Stopped by a signal. Gave 1 overdue delivery to the workers.',
  );
});
