import { GraphQLError, Kind, type ValueNode } from 'graphql';
import { builder } from './builder.ts';
import { shown } from './errors.ts';

const instantPattern = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/;

builder.scalarType('DateTime', {
  description:
    'An instant as ISO 8601 text with its offset, kept and given in milliseconds: `2026-01-31T12:00:00.000Z`.',
  serialize: (value) => value.toISOString(),
  parseValue: parseInstant,
  parseLiteral: (node) => parseInstant(node.kind === Kind.STRING ? node.value : undefined),
});

builder.scalarType('JSON', {
  description: 'Any JSON value: an object, a list, text, a number, true, false or null.',
  serialize: (value) => value,
  parseValue: (value) => value,
  parseLiteral: (node, variables) => jsonOf(node, variables ?? {}),
});

function parseInstant(value: unknown): Date {
  const instant = typeof value === 'string' && instantPattern.test(value) ? new Date(value) : null;
  if (instant === null || Number.isNaN(instant.getTime())) {
    throw new GraphQLError(`DateTime must be ISO 8601 text with an offset, not ${shown(value)}.`, {
      extensions: { code: 'BAD_USER_INPUT' },
    });
  }
  return instant;
}

/** The value that a literal writes; `__proto__` becomes an ordinary key, as JSON.parse has it. */
function jsonOf(node: ValueNode, variables: Record<string, unknown>): unknown {
  if (node.kind === Kind.LIST) return node.values.map((item) => jsonOf(item, variables));
  if (node.kind === Kind.OBJECT) {
    return Object.fromEntries(node.fields.map((field) => [field.name.value, jsonOf(field.value, variables)]));
  }
  if (node.kind === Kind.VARIABLE) return variables[node.name.value];
  if (node.kind === Kind.NULL) return null;
  return node.kind === Kind.INT || node.kind === Kind.FLOAT ? Number(node.value) : node.value;
}
