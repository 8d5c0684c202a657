import * as fc from 'fast-check';
import { types } from 'pg';
import { expect, test } from 'vitest';
import { quickDates } from '../../src/store/quick-dates.ts';

const timestamptz = types.builtins.TIMESTAMPTZ;
const parse = quickDates.getTypeParser(timestamptz, 'text') as (text: string) => unknown;
const parseUsually: (text: string) => unknown = types.getTypeParser(timestamptz, 'text');

/** As PostgreSQL writes it in a session in UTC: decimals without zeros at their end. */
function written(instant: Date): string {
  return instant
    .toISOString()
    .replace('T', ' ')
    .replace(/\.?0*Z$/, '+00');
}

test('an instant of any year from 1 to 9999 is read to the millisecond', () => {
  const instant = fc.date({ min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59.999Z') });
  fc.assert(
    fc.property(
      instant.filter((date) => !Number.isNaN(date.getTime())),
      (date) => {
        expect(parse(written(date))).toEqual(date);
      },
    ),
    { numRuns: 2_000 },
  );
});

test.each([
  '2026-01-31 12:00:00+00',
  '2026-01-31 12:00:00.5+00',
  '2026-01-31 12:00:00.123456+00',
  '2026-01-31 12:00:00+05:30',
  '0099-12-31 23:59:59.9+00',
  '10000-01-01 00:00:00+00',
  '0044-03-15 12:00:00+00 BC',
  'infinity',
])('%s is read as the driver reads it', (text) => {
  expect(parse(text)).toEqual(parseUsually(text));
});
