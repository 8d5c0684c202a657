import { GraphQLError, Kind, type ValueNode } from 'graphql';
import { builder } from './builder.ts';
import { shown } from './errors.ts';

/** Levels of lists and objects that a JSON value may have. */
const jsonDepthMax = 64;

const earliest = new Date('0001-01-01T00:00:00Z');
const latest = new Date('9999-12-31T23:59:59.999Z');
const instantPattern = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/;

builder.scalarType('DateTime', {
  description:
    'An instant as ISO 8601 text with its offset, kept and given in milliseconds: `2026-01-31T12:00:00.000Z`.',
  serialize: (value) => value.toISOString(),
  parseValue: parseInstant,
  parseLiteral: (node) => parseInstant(node.kind === Kind.STRING ? node.value : undefined),
});

builder.scalarType('JSON', {
  description:
    'Any JSON value: an object, a list, text, a number, true, false or null, nested at most 64 deep. Numbers are IEEE ' +
    'doubles, as JavaScript reads them: send larger integers as text.',
  serialize: (value) => value,
  parseValue: requireJson,
  parseLiteral: parseJsonLiteral,
});

function parseInstant(value: unknown): Date {
  const parts = typeof value === 'string' ? instantPattern.exec(value) : null;
  const instant = parts !== null && isCalendarDay(parts[1] ?? '') ? new Date(parts[0]) : null;
  // An offset can lead out of the years 1 to 9999, which Postgres reads from ISO 8601.
  if (instant === null || !(instant >= earliest && instant <= latest)) {
    throw badValue(
      `DateTime must be a time of a real day in the years 1 to 9999 as ISO 8601 text with its offset, not ${shown(value)}.`,
    );
  }
  return instant;
}

/** Whether the day is in the calendar: JavaScript takes 30 February for 2 March, and Postgres knows no year 0. */
function isCalendarDay(day: string): boolean {
  const midnight = new Date(`${day}T00:00:00Z`);
  return !day.startsWith('0000') && !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(day);
}

/** What keeps a JSON value from being taken, as a requirement; null when nothing does. */
export function jsonProblem(value: unknown): string | null {
  // Level by level: what calls itself per level would run out of stack.
  let level: unknown[] = [value];
  for (let depth = 0; level.length > 0; depth += 1) {
    if (level.some((item) => typeof item === 'number' && !Number.isFinite(item))) {
      return 'must not contain numbers that are too large to be kept';
    }
    const containers = level.filter((item) => typeof item === 'object' && item !== null);
    if (depth >= jsonDepthMax && containers.length > 0) return `must be nested at most ${jsonDepthMax} deep`;
    level = containers.flatMap((item) => Object.values(item));
  }
  return null;
}

function requireJson(value: unknown): unknown {
  const problem = jsonProblem(value);
  if (problem !== null) throw badValue(`JSON ${problem}.`);
  return value;
}

/**
 * Validation reads the literal without variables, execution with them, and each variable was looked at by itself. What
 * execution refuses here would be no more than an invalid value, so the mutation looks at the whole.
 */
function parseJsonLiteral(node: ValueNode, variables: Record<string, unknown> | null | undefined): unknown {
  return variables ? jsonOf(node, variables) : requireJson(jsonOf(node, {}));
}

function badValue(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT' } });
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
