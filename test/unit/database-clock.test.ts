import { expect, test } from 'vitest';
import { createDatabaseClock } from '../../worker/database-clock.ts';

const hourMs = 3_600_000;

test('before the database has answered, the clock is this process’s own', () => {
  const before = Date.now();
  const now = createDatabaseClock().now().getTime();
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(Date.now());
});

test('the clock goes on from what the database said, however this machine’s is set', () => {
  let elapsedMs = 5_000;
  const clock = createDatabaseClock(() => elapsedMs);
  const at = new Date(Date.now() - hourMs);
  clock.saw(at);
  elapsedMs += 1_500;
  expect(clock.now()).toEqual(new Date(at.getTime() + 1_500));
});

test('an answer that was late does not turn the clock back, and one that is much earlier does', () => {
  let elapsedMs = 0;
  const clock = createDatabaseClock(() => elapsedMs);
  const at = Date.UTC(2026, 0, 1);
  clock.saw(new Date(at));
  elapsedMs = 10_000;
  clock.saw(new Date(at + 9_500));
  expect(clock.now()).toEqual(new Date(at + 10_000));
  clock.saw(new Date(at + 10_000 - hourMs));
  expect(clock.now()).toEqual(new Date(at + 10_000 - hourMs));
  clock.saw(new Date(at + 10_000));
  expect(clock.now()).toEqual(new Date(at + 10_000));
});
