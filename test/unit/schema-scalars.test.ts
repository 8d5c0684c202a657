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
