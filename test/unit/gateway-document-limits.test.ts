import { buildSchema, getIntrospectionQuery, parse, validate } from 'graphql';
import { expect, test } from 'vitest';
import { documentLimits } from '../../src/gateway/document-limits.ts';

const schema = buildSchema('type Query { a: Query b: Int }');
const rule = documentLimits({ depthMax: 3, aliasesMax: 4, rootFieldsMax: 5, fieldsMax: 400, directivesMax: 3 });

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

test('root fields count through fragments and by each alias', () => {
  expect(codes('{ b v: b w: b x: b y: b }')).toEqual([]);
  expect(codes('{ ...F x: b b } fragment F on Query { a { b } ... on Query { y: b z: b v: b } }')).toEqual([
    'QUERY_TOO_COMPLEX',
  ]);
});

test('fields count wherever they are, those of a fragment that is spread nowhere too', () => {
  const many = 'b '.repeat(401);
  expect(codes(`{ a { ${many} } }`)).toEqual(['QUERY_TOO_COMPLEX']);
  expect(codes(`{ b } fragment F on Query { ${many} }`)).toEqual(['QUERY_TOO_COMPLEX']);
  expect(codes(`{ a { ${'b '.repeat(399)} } }`)).toEqual([]);
});

test('directives count on fields, fragments and operations, as often as they apply', () => {
  const skip = '@skip(if: false)';
  expect(codes(`query @x { a ${skip} { ...F ${skip} } } fragment F on Query { b }`)).toEqual([]);
  expect(codes(`query @x { a ${skip} { ...F ${skip} } } fragment F on Query { b ${skip} }`)).toEqual([
    'QUERY_TOO_COMPLEX',
  ]);
});

test('the introspection query of tools passes', () => {
  expect(codes(getIntrospectionQuery())).toEqual([]);
});
