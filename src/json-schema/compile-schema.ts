import type { Ajv, ErrorObject, ValidateFunction } from 'ajv';
import { findDialect } from './dialect.ts';
import { keysOf, schemaProblems, type SchemaProblem } from './schema-problems.ts';
import { endsInBox } from './time-box.ts';

// src/json-schema: JSON Schemas that tenants write, and the data that is checked against them. Invariant: neither a schema
// nor data can hold the process for longer than a limit. What cannot be seen from the text (regular expressions that
// backtrack, references that double, lists of unique items) is bounded by the clock: everything runs in a box that is
// stopped in time. The schema folder compiles what is upserted, and the store checks what is emitted.

/** Where data does not match. */
export interface DataProblem {
  /** The keys that lead to it; none for the data as a whole. */
  path: readonly string[];
  /** As in `must be string`. */
  message: string;
  value: unknown;
}

/**
 * Says where the data does not match, with at most five problems; none when it does. It may run for very long: only
 * ever in a box. Throws a RangeError for a schema that leads back to itself for ever.
 */
export type CheckData = (data: unknown) => DataProblem[];

/** What becomes of a schema: a check, or what is wrong with it. */
export type CompiledSchema =
  | { kind: 'compiled'; check: CheckData }
  | { kind: 'refused'; problems: readonly SchemaProblem[] };

const compileLimitMs = 1_000;
const problemsMax = 5;

/** Compiles a JSON Schema: draft 2020-12, or draft-07 when its `$schema` says so. Takes a second at most, unless said. */
export function compileSchema(schema: unknown, limitMs: number = compileLimitMs): CompiledSchema {
  if (!isObject(schema)) return refused({ path: [], code: 'INVALID_SCHEMA', message: 'must be an object' });
  const compiler = (findDialect(schema['$schema']) ?? findDialect(undefined))?.createCompiler();
  if (compiler === undefined) throw new Error('the default dialect is gone');
  const problems = schemaProblems(schema, compiler);
  if (problems.length > 0) return { kind: 'refused', problems };
  return compileWith(compiler, schema, limitMs);
}

function compileWith(compiler: Ajv, schema: object, limitMs: number): CompiledSchema {
  let validate: ValidateFunction | null = null;
  try {
    const ended = endsInBox(limitMs, () => {
      validate = compiler.compile(schema);
      // Makes the code that V8 has put off, and runs into references that lead back to themselves.
      validate(null);
    });
    if (!ended || validate === null) {
      return refused({ path: [], code: 'SCHEMA_TOO_COSTLY', message: `takes longer than ${limitMs} ms to compile` });
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return refused({ path: [], code: 'INVALID_SCHEMA', message: `is refused: ${message}` });
  }
  return { kind: 'compiled', check: checkOf(validate) };
}

function checkOf(validate: ValidateFunction): CheckData {
  return (data) =>
    validate(data) ? [] : (validate.errors ?? []).slice(0, problemsMax).map((error) => problemOf(error));
}

function problemOf({ instancePath, message = 'does not match', keyword, params, data }: ErrorObject): DataProblem {
  const path = keysOf(instancePath);
  if (keyword !== 'additionalProperties' && keyword !== 'unevaluatedProperties') return { path, message, value: data };
  // ajv names the parent; what is wrong is the property.
  const property = String(params['additionalProperty'] ?? params['unevaluatedProperty']);
  return {
    path: [...path, property],
    message: 'must not be there',
    value: isObject(data) ? data[property] : undefined,
  };
}

function refused(problem: SchemaProblem): CompiledSchema {
  return { kind: 'refused', problems: [problem] };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
