import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compileSchema, type CheckData } from '../../src/json-schema/compile-schema.ts';
import { endsInBox } from '../../src/json-schema/time-box.ts';

const draft07 = 'http://json-schema.org/draft-07/schema#';

function checkOf(schema: unknown): CheckData {
  const compiled = compileSchema(schema);
  if (compiled.kind === 'refused') throw new Error(JSON.stringify(compiled.problems));
  return compiled.check;
}

function problemsOf(schema: unknown) {
  const compiled = compileSchema(schema);
  return compiled.kind === 'refused' ? compiled.problems : [];
}

function nested(depth: number, inner: object): object {
  return depth === 0 ? inner : { properties: { a: nested(depth - 1, inner) } };
}

/** Each schema asks the next one twice: 2^n questions. */
function doubling(levels: number): object {
  const names = Array.from({ length: levels }, (_, index) => `d${index}`);
  const schemas = names.map((name, index) => {
    const next = { $ref: `#/$defs/d${index + 1}` };
    return [name, index === levels - 1 ? { type: 'string' } : { anyOf: [next, next] }] as const;
  });
  return { $defs: Object.fromEntries(schemas), $ref: '#/$defs/d0' };
}

/** Whether the schema is compiled, and can check the data, or refused with a reason. */
function hasOutcome(schema: unknown, data: unknown): boolean {
  const compiled = compileSchema(schema);
  return compiled.kind === 'compiled' ? Array.isArray(compiled.check(data)) : compiled.problems.length > 0;
}

describe('a schema', () => {
  test.each([
    ['of draft 2020-12', { prefixItems: [{ type: 'string' }], items: false }, ['a'], ['a', 'b']],
    ['of draft-07', { $schema: draft07, items: [{ type: 'string' }], additionalItems: false }, ['a'], ['a', 'b']],
    ['with a format', { type: 'string', format: 'email' }, 'a@example.com', 'nobody'],
    ['with an anchor', { $ref: '#id', $defs: { id: { $anchor: 'id', type: 'integer' } } }, 1, 1.5],
    [
      'that leads back to itself',
      { properties: { next: { $ref: '#' } }, maxProperties: 1 },
      { next: {} },
      { a: 1, b: 2 },
    ],
    ['that asks for what every object inherits', { required: ['constructor'] }, { constructor: 1 }, {}],
    [
      'with annotations',
      { title: 'T', examples: [{}], $comment: 'c', deprecated: true, const: { $ref: 'x' } },
      { $ref: 'x' },
      1,
    ],
  ])('%s takes what matches it and nothing else', (_name, schema, good, bad) => {
    const check = checkOf(schema);
    expect(check(good)).toEqual([]);
    expect(check(bad)).not.toEqual([]);
  });

  test.each([
    [{ properties: { a: { type: 'strin' } } }, ['properties', 'a', 'type'], 'must be'],
    [{ properties: { 'a/b~c': { minLength: -1 } } }, ['properties', 'a/b~c', 'minLength'], 'must be >= 0'],
    [{ requried: ['a'] }, ['requried'], 'no keyword'],
    [{ items: { 'x-internal': 1 } }, ['items', 'x-internal'], 'no keyword'],
    [{ anyOf: [{}, { format: 'phone' }] }, ['anyOf', '1', 'format'], 'no known format'],
    [{ format: 'constructor' }, ['format'], 'no known format'],
    [{ not: { $ref: 'https://example.com/a.json' } }, ['not', '$ref'], 'in this schema'],
    [{ $dynamicRef: 'other#node' }, ['$dynamicRef'], 'in this schema'],
    [{ $ref: '#/$defs/none' }, [], '#/$defs/none'],
    [{ $ref: '#' }, [], 'Maximum call stack'],
    [{ $schema: 'https://json-schema.org/draft/2019-09/schema' }, ['$schema'], '2020-12'],
    [{ pattern: '(' }, ['pattern'], 'Unterminated group'],
    [{ patternProperties: { '[': {} } }, ['patternProperties', '['], 'Invalid regular expression'],
    [{ minimum: { $data: '1/other' } }, ['minimum'], 'must be number'],
    [{ $async: true }, ['$async'], 'no keyword'],
    [{ if: { type: 'string' } }, [], '"if" without'],
    [true, [], 'must be an object'],
    [[], [], 'must be an object'],
  ])('%j is refused, with the place and the reason', (schema, path, reason) => {
    expect(problemsOf(schema)[0]).toMatchObject({
      path,
      code: 'INVALID_SCHEMA',
      message: expect.stringContaining(reason),
    });
  });

  test.each([
    ['bytes', { description: 'x'.repeat(32 * 1024) }, '32768 bytes'],
    ['schemas', { anyOf: Array.from({ length: 500 }, () => ({})) }, '500 schemas'],
    ['levels', nested(21, {}), '40 deep'],
  ])('of too many %s is refused', (_name, schema, limit) => {
    expect(problemsOf(schema)).toMatchObject([
      { code: 'SCHEMA_TOO_LARGE', path: [], message: expect.stringContaining(limit) },
    ]);
  });

  test('as large as can be is taken', () => {
    expect(problemsOf({ anyOf: Array.from({ length: 499 }, () => ({})) })).toEqual([]);
    expect(problemsOf(nested(20, {}))).toEqual([]);
  });

  test('that doubles with each reference is stopped while it is compiled or checked', () => {
    expect(problemsOf(doubling(40))).toMatchObject([{ code: 'SCHEMA_TOO_COSTLY' }]);
  });

  test('does not see another one by its $id', () => {
    checkOf({ $id: 'https://example.com/first', type: 'string' });
    expect(checkOf({ $id: 'https://example.com/first', type: 'number' })(1)).toEqual([]);
  });

  test('says at most five problems, each with the keys that lead to it and the value', () => {
    const check = checkOf({
      type: 'object',
      additionalProperties: false,
      properties: {
        'a/b': { type: 'array', items: { anyOf: Array.from({ length: 9 }, (_, index) => ({ const: index })) } },
      },
    });
    const problems = check({ 'a/b': [1, 'x'] });
    expect(problems).toHaveLength(5);
    expect(problems[0]).toEqual({ path: ['a/b', '1'], message: 'must be equal to constant', value: 'x' });
    expect(check({ other: 7 })).toEqual([{ path: ['other'], message: 'must not be there', value: 7 }]);
  });

  test('of whatever shape is compiled or refused, and never throws', () => {
    const values = fc.jsonValue({ maxDepth: 4 });
    expect(() => fc.assert(fc.property(values, values, hasOutcome), { numRuns: 50 })).not.toThrow();
  });
});

describe('a box', () => {
  test.each([
    ['a regular expression that backtracks', { pattern: '^(a+)+$' }, `${'a'.repeat(40)}b`],
    [
      'a list whose items must differ',
      { type: 'array', uniqueItems: true },
      Array.from({ length: 20_000 }, (_, index) => [index]),
    ],
    [
      'a schema that asks twice on every level of the data',
      {
        anyOf: [
          { required: ['b'], properties: { a: { $ref: '#' } } },
          { properties: { a: { $ref: '#' } }, required: ['b'] },
        ],
      },
      JSON.parse('{"a":'.repeat(60) + '1' + ',"b":1}'.repeat(60)),
    ],
  ])('stops %s', (_name, schema, data) => {
    const check = checkOf(schema);
    const startedAtMs = performance.now();
    expect(endsInBox(20, () => void check(data))).toBe(false);
    expect(performance.now() - startedAtMs).toBeLessThan(2_000);
    expect(endsInBox(1_000, () => void check(null))).toBe(true); // and can be used again
  });

  test('passes on what is thrown in it', () => {
    expect(() => endsInBox(1_000, () => expect.fail('inside'))).toThrow('inside');
  });
});
