import { type GraphQLScalarType, parseValue } from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../schema/index.ts';

const dateTime = schema.getType('DateTime') as GraphQLScalarType;
const json = schema.getType('JSON') as GraphQLScalarType;

test('DateTime gives ISO 8601 in milliseconds', () => {
  expect(dateTime.serialize(new Date(0))).toBe('1970-01-01T00:00:00.000Z');
});

test('DateTime takes an offset', () => {
  expect(dateTime.parseValue('2026-01-31T13:00:00+01:00')).toEqual(new Date('2026-01-31T12:00:00Z'));
});

test.each([
  '0000-01-01T00:00:00Z',
  '2026-02-30T00:00:00Z',
  '2025-02-29T00:00:00Z',
  '0001-01-01T00:00:00+01:00',
  '9999-12-31T23:59:59-01:00',
])('DateTime refuses %s, which is in no calendar', (value) => {
  expect(() => dateTime.parseValue(value)).toThrow(value);
});

test.each(['0001-01-01T00:00:00Z', '2024-02-29T23:59:59.999Z', '9999-12-31T23:59:59.999Z'])(
  'DateTime takes %s',
  (value) => {
    expect(dateTime.parseValue(value)).toEqual(new Date(value));
  },
);

test.each(['2026-01-31', 'yesterday', '2026-13-01T00:00:00Z', '2026-01-31T12:00:00', 0, null])(
  'DateTime refuses %j and names it',
  (value) => {
    expect(() => dateTime.parseValue(value)).toThrow(`not ${JSON.stringify(value)}`);
  },
);

test('JSON takes literals with variables in them', () => {
  const literal = parseValue('{ list: [1, 2.5, "x", true, null, $v], __proto__: { a: 1 } }');
  const value = json.parseLiteral(literal, { v: { deep: 1 } });
  expect(JSON.stringify(value)).toBe('{"list":[1,2.5,"x",true,null,{"deep":1}],"__proto__":{"a":1}}');
});

function nested(depth: number): string {
  return '['.repeat(depth) + ']'.repeat(depth);
}

test('JSON is nested at most 64 deep, as a literal and as a variable', () => {
  expect(JSON.stringify(json.parseValue(JSON.parse(nested(64))))).toBe(nested(64));
  expect(JSON.stringify(json.parseLiteral(parseValue(nested(64))))).toBe(nested(64));
  expect(() => json.parseValue(JSON.parse(nested(65)))).toThrow('at most 64 deep');
  expect(() => json.parseValue(JSON.parse(nested(20_000)))).toThrow('at most 64 deep');
  expect(() => json.parseLiteral(parseValue(nested(65)))).toThrow('at most 64 deep');
  expect(() => json.parseLiteral(parseValue(nested(1_000)))).toThrow('at most 64 deep');
});

test('JSON refuses numbers that a double cannot hold', () => {
  expect(() => json.parseLiteral(parseValue('{ a: [1e999] }'))).toThrow('too large');
  expect(() => json.parseValue(JSON.parse('-1e999'))).toThrow('too large');
});
