import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { findTraceParent, formatTraceParent, partsOf, placeInTraceOf } from '../../src/domain/trace-parent.ts';

const traceId = '0af7651916cd43dd8448eb211c80319c';
const spanId = 'b7ad6b7169203331';

function hex(length: number): fc.Arbitrary<string> {
  return fc
    .string({ unit: fc.constantFrom(...'0123456789abcdef'.split('')), minLength: length, maxLength: length })
    .filter((text) => /[^0]/.test(text));
}

describe('a traceparent', () => {
  test.each(['00', '01', '02', '03'])('of version 00 with the flags %s stays as it is', (flags) => {
    expect(findTraceParent(`00-${traceId}-${spanId}-${flags}`)).toBe(`00-${traceId}-${spanId}-${flags}`);
  });

  test('loses the flags that version 00 does not know', () => {
    expect(findTraceParent(`00-${traceId}-${spanId}-fd`)).toBe(`00-${traceId}-${spanId}-01`);
  });

  test.each([
    `01-${traceId}-${spanId}-01`,
    `fe-${traceId}-${spanId}-01-what-comes-one-day`,
    `cc-${traceId}-${spanId}-01-`,
  ])('of a later version is read as far as this one knows it: %s', (text) => {
    expect(findTraceParent(text)).toBe(`00-${traceId}-${spanId}-01`);
  });

  test.each([
    undefined,
    null,
    12,
    ['00', traceId],
    '',
    'ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
    `00-${'0'.repeat(32)}-${spanId}-01`,
    `00-${traceId}-${'0'.repeat(16)}-01`,
    `00-${traceId.toUpperCase()}-${spanId}-01`,
    `00-${traceId}-${spanId}-01-more`,
    `00-${traceId}-${spanId}-01-`,
    `00-${traceId}-${spanId}-01\n`,
    `01-${traceId}-${spanId}-01.more`,
    `00-${traceId}-${spanId}-1`,
    `00-${traceId}-${spanId}`,
    `00-${traceId.slice(1)}-${spanId}-01`,
    ` 00-${traceId}-${spanId}-01`,
    `0-${traceId}-${spanId}-01`,
    `00-${traceId}-${spanId}-0x`,
    `00-${traceId}-${spanId}-01, 00-${traceId}-${spanId}-01`,
  ])('is none when it is %j', (given) => {
    expect(findTraceParent(given)).toBeNull();
  });

  test('is what its parts make, and gives them back', () => {
    fc.assert(
      fc.property(hex(32), hex(16), fc.integer({ min: 0, max: 3 }), (trace, span, flags) => {
        const parts = { traceId: trace, spanId: span, flags };
        const text = formatTraceParent(parts);
        expect(text).toHaveLength(55);
        expect(findTraceParent(text)).toBe(text);
        expect(partsOf(text)).toEqual(parts);
      }),
    );
  });

  test('of a place in the same trace keeps trace id and flags', () => {
    fc.assert(
      fc.property(hex(32), hex(16), hex(16), fc.integer({ min: 0, max: 3 }), (trace, span, other, flags) => {
        const place = placeInTraceOf(formatTraceParent({ traceId: trace, spanId: span, flags }), other);
        expect(partsOf(place)).toEqual({ traceId: trace, spanId: other, flags });
      }),
    );
  });

  test('that is found in any text is one that the table of events takes', () => {
    const shape = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
    const almost = fc
      .tuple(fc.constantFrom('00', '01', 'ff', '0'), hex(32), hex(16), fc.constantFrom('01', 'ff', '0'), fc.string())
      .map(([version, trace, span, flags, rest]) => [version, trace, span, flags].join('-') + rest);
    fc.assert(
      fc.property(fc.oneof(fc.string(), almost), (text) => {
        expect(findTraceParent(text) ?? formatTraceParent({ traceId, spanId, flags: 0 })).toMatch(shape);
      }),
    );
  });

  test('cannot be made of parts that name nothing', () => {
    expect(() => formatTraceParent({ traceId, spanId: '0'.repeat(16), flags: 1 })).toThrow('is no traceparent');
  });
});
