import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { createEpoch, cursorExpired, cursorText, parseCursor, startPosition } from '../../src/feed/cursor.ts';
import { FeedError } from '../../src/feed/feed.ts';
import type { FeedErrorCode } from '../../src/feed/feed.ts';

test('a cursor reads back as the place it was made of', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 999_999_999_999_999 }), (n) => {
      const epoch = createEpoch();
      expect(parseCursor(cursorText(epoch, n))).toEqual({ epoch, n });
    }),
  );
});

test('any text is either a cursor that writes back the same, or BAD_CURSOR', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f]{15,17}-[0-9]{0,17}$/)), (text) => {
      const outcome = outcomeOf(() => parseCursor(text));
      const back = outcome.value === null ? outcome.code : cursorText(outcome.value.epoch, outcome.value.n);
      expect(['BAD_CURSOR', text]).toContain(back);
    }),
  );
});

test('a cursor is good from just before the oldest kept item to the newest, and expired elsewhere', () => {
  const state = { epoch: 'e', first: 5, head: 9 };
  const places = Array.from({ length: 13 }, (_, n) => n);
  const good = places.filter((n) => outcomeOf(() => startPosition(state, { epoch: 'e', n })).value !== null);
  expect(good).toEqual([4, 5, 6, 7, 8, 9]);
  expect(outcomeOf(() => startPosition(state, { epoch: 'e', n: 3 })).code).toBe('CURSOR_EXPIRED');
  expect(outcomeOf(() => startPosition(state, { epoch: 'f', n: 6 })).code).toBe('CURSOR_EXPIRED');
});

test('without a cursor the start is after the newest item', () => {
  expect(startPosition({ epoch: 'e', first: 5, head: 9 }, null)).toEqual({ epoch: 'e', n: 9 });
});

test('what a subscriber reads about a cursor is a sentence', () => {
  expect(() => parseCursor('elsewhere')).toThrow('"elsewhere" is not a cursor of the feed.');
  expect(cursorExpired({ epoch: 'e', n: 3 }).message).toBe('The feed no longer keeps what followed cursor e-3.');
});

function outcomeOf<Value>(action: () => Value): { value: Value | null; code: FeedErrorCode | null } {
  try {
    return { value: action(), code: null };
  } catch (error) {
    if (error instanceof FeedError) return { value: null, code: error.code };
    throw error;
  }
}
