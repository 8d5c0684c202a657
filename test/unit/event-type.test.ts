import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  eventTypeLengthMax,
  isEventType,
  isEventTypeFilter,
  matchesEventType,
  matchingFilters,
} from '../../src/domain/event-type.ts';

const word = fc.constantFrom('config', 'deployed', 'a', 'b', 'user_1');
const eventType = fc.array(word, { minLength: 1, maxLength: 4 }).map((words) => words.join('.'));
const filter = fc.oneof(
  fc.constant('*'),
  eventType,
  eventType.map((type) => `${type}.*`),
);

/** The meaning of one filter, written the obvious way. */
function takes(text: string, type: string): boolean {
  if (text === '*') return true;
  return text.endsWith('.*') ? type.startsWith(text.slice(0, -1)) : type === text;
}

test('filters match exactly as one would match them one by one', () => {
  fc.assert(
    fc.property(fc.array(filter, { maxLength: 5 }), eventType, (filters, type) => {
      expect(matchesEventType(filters, type)).toBe(filters.some((text) => takes(text, type)));
    }),
  );
});

test('every matching filter is a filter, takes the type, and is listed once', () => {
  fc.assert(
    fc.property(eventType, (type) => {
      const filters = matchingFilters(type);
      expect(filters.every((text) => isEventTypeFilter(text) && takes(text, type))).toBe(true);
      expect(new Set(filters).size).toBe(type.split('.').length + 1);
    }),
  );
});

test('config.* takes config.deployed and config.a.b, not config nor configs.a', () => {
  const taken = ['config.deployed', 'config.a.b', 'config', 'configs.a'].filter((type) =>
    matchesEventType(['config.*'], type),
  );
  expect(taken).toEqual(['config.deployed', 'config.a.b']);
});

describe('names', () => {
  test.each(['a', 'config.deployed', 'a_b.c1', 'a'.repeat(eventTypeLengthMax)])(
    '%s is an event type and a filter',
    (text) => {
      expect(isEventType(text)).toBe(true);
      expect(isEventTypeFilter(text)).toBe(true);
    },
  );

  test.each(['', '.', 'a.', '.a', 'a..b', 'A', 'a b', 'a-b', 'ä', 'a\n', 'a'.repeat(eventTypeLengthMax + 1)])(
    '%j is neither',
    (text) => {
      expect(isEventType(text)).toBe(false);
      expect(isEventTypeFilter(text)).toBe(false);
    },
  );

  test('stars stand alone or at the end of a filter only', () => {
    expect(['*', 'a.*', 'a.b.*'].map(isEventTypeFilter)).toEqual([true, true, true]);
    expect(['*.*', 'a*', 'a.*.b', '*.a', '.*', 'a.**', '**'].map(isEventTypeFilter)).toEqual(
      Array.from({ length: 7 }, () => false),
    );
    expect(isEventType('*')).toBe(false);
  });
});
