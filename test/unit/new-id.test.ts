import { afterEach, expect, test, vi } from 'vitest';
import { newId, newUuid } from '../../src/store/new-id.ts';

afterEach(() => void vi.useRealTimers());

test('fresh UUIDs are of version 7 and bear the time', () => {
  const before = Date.now();
  const uuid = newUuid();
  expect(uuid).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const at = Number.parseInt(uuid.replaceAll('-', '').slice(0, 12), 16);
  expect(at).toBeGreaterThanOrEqual(before);
  expect(at).toBeLessThanOrEqual(Date.now() + 1);
});

test('fresh ids differ and sort in the order in which they were made, within a millisecond and when the clock steps back', () => {
  vi.useFakeTimers({ now: 1_700_000_000_000 });
  const ids = Array.from({ length: 6_000 }, () => newId('event'));
  vi.setSystemTime(1_600_000_000_000);
  for (let count = 0; count < 6_000; count += 1) ids.push(newId('event'));
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.toSorted()).toEqual(ids);
});
