import { buildSchema, getIntrospectionQuery, parse, validate } from 'graphql';
import { expect, test } from 'vitest';
import { documentLimits } from '../../src/gateway/document-limits.ts';

const schema = buildSchema('type Query { a: Query b: Int }');
const rule = documentLimits({ depthMax: 3, aliasesMax: 4 });

function codes(query: string): unknown[] {
  return validate(schema, parse(query), [rule]).map((error) => error.extensions['code']);
}

test('an operation at the allowed depth passes and one deeper is too complex', () => {
  expect(codes('{ a { a { b } } }')).toEqual([]);
  expect(codes('{ a { a { a { b } } } }')).toEqual(['QUERY_TOO_COMPLEX']);
});

test('depth counts through fragments, whatever their order', () => {
  expect(codes('{ a { ...F } } fragment F on Query { a { ... on Query { a { b } } } }')).toEqual(['QUERY_TOO_COMPLEX']);
  expect(codes('fragment F on Query { a { b } } { a { ...F } }')).toEqual([]);
});

test('aliases count as often as their fragment is spread', () => {
  expect(codes('{ w: b x: b y: b z: b }')).toEqual([]);
  expect(codes('{ v: b w: b x: b y: b z: b }')).toEqual(['QUERY_TOO_COMPLEX']);
  expect(codes('{ x: a { ...F } y: a { ...F } } fragment F on Query { p: b q: b }')).toEqual(['QUERY_TOO_COMPLEX']);
});

test('fragments that spread one another are measured without end neither in time nor in number', () => {
  const names = Array.from({ length: 200 }, (_, index) => `F${index}`);
  const doubling = names.map((name, index) => {
    const next = names[index + 1];
    return `fragment ${name} on Query { ${next === undefined ? 'p: b' : `...${next} ...${next}`} }`;
  });
  expect(codes(`{ ...F0 } ${doubling.join(' ')}`)).toEqual(['QUERY_TOO_COMPLEX']);
  expect(codes('{ ...A } fragment A on Query { a { ...B } } fragment B on Query { a { ...A } }')).toEqual([]);
});

test('the introspection query of tools passes', () => {
  expect(codes(getIntrospectionQuery())).toEqual([]);
});
