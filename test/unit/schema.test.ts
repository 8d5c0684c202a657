import { readFile } from 'node:fs/promises';
import {
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputField,
  type GraphQLInputType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isNonNullType,
  isObjectType,
  isSpecifiedScalarType,
  lexicographicSortSchema,
  printSchema,
} from 'graphql';
import { describe, expect, test } from 'vitest';
import { schema } from '../../schema/index.ts';
import { permissions } from '../../src/domain/permissions.ts';

const ownTypes = Object.values(schema.getTypeMap()).filter(
  (type) => !type.name.startsWith('__') && !isSpecifiedScalarType(type),
);

/** Everything that a reader of the schema can look up, with its path. */
function* describable(): Generator<{ path: string; description: string | null | undefined }> {
  for (const type of ownTypes) {
    yield { path: type.name, description: type.description };
    if (isEnumType(type)) {
      for (const value of type.getValues()) yield { path: `${type.name}.${value.name}`, ...described(value) };
    }
    if (isObjectType(type) || isInterfaceType(type) || isInputObjectType(type)) {
      for (const field of Object.values(type.getFields())) {
        const path = `${type.name}.${field.name}`;
        yield { path, ...described(field) };
        const args: readonly GraphQLArgument[] = 'args' in field ? field.args : [];
        for (const arg of args) yield { path: `${path}(${arg.name})`, ...described(arg) };
      }
    }
  }
}

function described(item: { description?: string | null | undefined } | GraphQLInputField) {
  return { description: item.description };
}

/** Every field that a query can select. */
function outputFields(): { path: string; field: GraphQLField<unknown, unknown>; ofType: string }[] {
  return ownTypes
    .filter((type) => isObjectType(type) || isInterfaceType(type))
    .flatMap((type) =>
      Object.values(type.getFields()).map((field) => ({
        path: `${type.name}.${field.name}`,
        field,
        ofType: type.description ?? '',
      })),
    );
}

/** Everything that a caller can give: arguments and fields of inputs. `ofType` describes what it is a part of. */
function inputs(): { path: string; input: GraphQLArgument | GraphQLInputField; ofType: string }[] {
  const args = outputFields().flatMap(({ path, field }) =>
    field.args.map((input) => ({ path: `${path}(${input.name})`, input, ofType: '' })),
  );
  const fields = ownTypes
    .filter((type) => isInputObjectType(type))
    .flatMap((type) =>
      Object.values(type.getFields()).map((input) => ({
        path: `${type.name}.${input.name}`,
        input,
        ofType: type.description ?? '',
      })),
    );
  return [...args, ...fields];
}

function isOptional({ type, defaultValue }: { type: GraphQLInputType; defaultValue?: unknown }): boolean {
  return !isNonNullType(type) && defaultValue === undefined;
}

const camelCase = /^[a-z][a-zA-Z0-9]*$/;
const pascalCase = /^[A-Z][a-zA-Z0-9]*$/;
const upperSnake = /^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$/;
/** Words by which a description says what it means that something optional is not given. */
const saysAbsence = /\b(null|absent|without|unless|default|neither)\b/i;

describe('the schema', () => {
  test('describes every type, field, argument, input field and enum value', () => {
    const all = [...describable()];
    expect(all.length).toBeGreaterThan(200);
    expect(all.filter(({ description }) => !description?.trim()).map(({ path }) => path)).toEqual([]);
  });

  test('is what schema.graphql says: `node schema/print.ts` makes it so', async () => {
    const committed = await readFile(new URL('../../schema/schema.graphql', import.meta.url), 'utf8');
    expect(committed).toBe(`${printSchema(lexicographicSortSchema(schema))}\n`);
  });

  test('says for every root field which permission it needs, or that it is the administrator’s', () => {
    const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
    const fields = roots.flatMap((root) => Object.values(root?.getFields() ?? {}));
    expect(fields.length).toBeGreaterThan(20);
    for (const field of fields) expect([...permissions, 'ADMINISTRATOR']).toContain(field.extensions['needs']);
  });

  test('takes one input object per mutation and gives user errors with every payload', () => {
    for (const field of Object.values(schema.getMutationType()?.getFields() ?? {})) {
      const name = field.name.charAt(0).toUpperCase() + field.name.slice(1);
      expect(field.args.map((arg) => `${arg.name}: ${String(arg.type)}`)).toEqual([`input: ${name}Input!`]);
      expect(String(field.type)).toBe(`${name}Payload!`);
      const payload = schema.getType(`${name}Payload`);
      expect(isObjectType(payload) && String(payload.getFields()['userErrors']?.type)).toBe('[UserError!]!');
    }
  });

  test('names types in PascalCase, fields and arguments in camelCase, enum values in UPPER_SNAKE', () => {
    expect(ownTypes.map(({ name }) => name).filter((name) => !pascalCase.test(name))).toEqual([]);
    const fields = outputFields().map(({ path, field }) => ({ path, name: field.name }));
    const given = inputs().map(({ path, input }) => ({ path, name: input.name }));
    expect([...fields, ...given].filter(({ name }) => !camelCase.test(name))).toEqual([]);
    const values = ownTypes.filter((type) => isEnumType(type)).flatMap((type) => type.getValues());
    expect(values.map(({ name }) => name).filter((name) => !upperSnake.test(name))).toEqual([]);
  });

  test('names what it gives and takes alike: inputs XInput, XFilter, XOrder or XItem, lists of nodes XConnection with XEdge', () => {
    // An input is what a mutation takes or a group within it; a filter and an order are arguments of lists, and an item
    // is one of a list within an input.
    const inputNames = ownTypes.filter((type) => isInputObjectType(type)).map(({ name }) => name);
    expect(inputNames.filter((name) => !/(Input|Filter|Order|Item)$/.test(name))).toEqual([]);
    const connections = ownTypes.filter((type) => isObjectType(type) && 'pageInfo' in type.getFields());
    expect(connections.length).toBeGreaterThan(4);
    for (const connection of connections) {
      const name = connection.name.replace(/Connection$/, '');
      const fields = isObjectType(connection) ? connection.getFields() : {};
      const shape = Object.fromEntries(Object.values(fields).map((field) => [field.name, String(field.type)]));
      expect({ [connection.name]: shape }).toEqual({
        [`${name}Connection`]: {
          edges: `[${name}Edge!]!`,
          nodes: `[${name}!]!`,
          pageInfo: 'PageInfo!',
          totalCount: 'Int',
        },
      });
      const edge = schema.getType(`${name}Edge`);
      const edgeFields = isObjectType(edge) ? Object.values(edge.getFields()) : [];
      expect(edgeFields.map((field) => `${field.name}: ${String(field.type)}`).sort()).toEqual([
        'cursor: String!',
        `node: ${name}!`,
      ]);
    }
  });

  test('pages every connection both ways: first, after, last, before', () => {
    const paged = outputFields().filter(({ field }) => String(field.type).endsWith('Connection!'));
    expect(paged.length).toBeGreaterThan(6);
    for (const { path, field } of paged) {
      const args = field.args.filter(({ name }) => ['first', 'after', 'last', 'before'].includes(name));
      const shape = args.map((arg) => `${arg.name}: ${String(arg.type)}`).sort();
      expect([path, ...shape]).toEqual([path, 'after: String', 'before: String', 'first: Int', 'last: Int']);
    }
  });

  test('has nothing nullable to read without saying when it is null', () => {
    const nullable = outputFields().filter(({ field }) => !isNonNullType(field.type));
    expect(nullable.length).toBeGreaterThan(40);
    const silent = nullable.filter(({ field, ofType }) => !/\bnull\b/i.test(`${field.description} ${ofType}`));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  test('has nothing optional to give without saying what its absence means', () => {
    const optional = inputs().filter(({ input }) => isOptional(input));
    expect(optional.length).toBeGreaterThan(40);
    const silent = optional.filter(({ input, ofType }) => !saysAbsence.test(`${input.description} ${ofType}`));
    expect(silent.map(({ path }) => path)).toEqual([]);
  });
});
