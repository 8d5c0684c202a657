import { readFile } from 'node:fs/promises';
import {
  type GraphQLArgument,
  type GraphQLInputField,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
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
});
