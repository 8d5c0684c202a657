import type { Ajv } from 'ajv';
import { findDialect } from './dialect.ts';
import { subschemasOf, type Subschema } from './subschemas.ts';
import { endsInBox } from './time-box.ts';

/** Why a schema is not taken. */
export interface SchemaProblem {
  /** The keys that lead to what is wrong; none for the schema as a whole. */
  path: readonly string[];
  code: 'INVALID_SCHEMA' | 'SCHEMA_TOO_LARGE' | 'SCHEMA_TOO_COSTLY';
  /** As in `must be …`. */
  message: string;
}

/** Largest schema, as compact JSON. */
export const schemaBytesMax = 32 * 1024;
/** Most schemas in a schema. */
export const subschemaCountMax = 500;
/** Most keys on the way to a schema in it. */
export const pathLengthMax = 40;
const problemsMax = 5;
const metaSchemaLimitMs = 200;

/** Says what is wrong with a schema before it is compiled, with at most five problems; none when it can be tried. */
export function schemaProblems(schema: Readonly<Record<string, unknown>>, compiler: Ajv): SchemaProblem[] {
  const sizeExceeded = sizeProblem(schema);
  if (sizeExceeded !== null) return [sizeExceeded];
  const mistakes = metaSchemaProblems(schema);
  if (mistakes.length > 0) return mistakes;
  return [...subschemasOf(schema)].flatMap((part) => problemsOf(part, compiler)).slice(0, problemsMax);
}

function sizeProblem(schema: Readonly<Record<string, unknown>>): SchemaProblem | null {
  const bytes = Buffer.byteLength(JSON.stringify(schema));
  if (bytes > schemaBytesMax) return tooLarge(`must be at most ${schemaBytesMax} bytes as JSON, not ${bytes}`);
  let count = 0;
  for (const { path } of subschemasOf(schema)) {
    count += 1;
    if (path.length > pathLengthMax) return tooLarge(`must be nested at most ${pathLengthMax} deep`);
    if (count > subschemaCountMax) return tooLarge(`must have at most ${subschemaCountMax} schemas in it`);
  }
  return null;
}

function tooLarge(message: string): SchemaProblem {
  return { path: [], code: 'SCHEMA_TOO_LARGE', message };
}

function metaSchemaProblems(schema: Readonly<Record<string, unknown>>): SchemaProblem[] {
  const metaSchema = findDialect(schema['$schema'])?.metaSchema;
  if (metaSchema === undefined) {
    const message = 'must be draft 2020-12, https://json-schema.org/draft/2020-12/schema, or draft-07';
    return [invalid(['$schema'], message)];
  }
  const ended = endsInBox(metaSchemaLimitMs, () => void metaSchema.validateSchema(schema));
  if (!ended) return [{ path: [], code: 'SCHEMA_TOO_COSTLY', message: 'takes too long to be checked' }];
  return (metaSchema.errors ?? [])
    .slice(0, problemsMax)
    .map(({ instancePath, message = 'is invalid' }) => invalid(keysOf(instancePath), message));
}

/** What compiling it would refuse as well, but without saying where it stands, or would not refuse. */
function problemsOf({ path, schema }: Subschema, compiler: Ajv): SchemaProblem[] {
  const unknown = Object.keys(schema)
    .filter((keyword) => compiler.RULES.keywords[keyword] !== true)
    .map((keyword) => invalid([...path, keyword], 'is no keyword of JSON Schema'));
  const { $async: isAsync, $ref, $dynamicRef, format, pattern, patternProperties } = schema;
  return [
    ...unknown,
    ...(isAsync === undefined ? [] : [invalid([...path, '$async'], 'is no keyword of JSON Schema')]),
    ...(isLocal($ref) ? [] : [invalid([...path, '$ref'], 'must lead to a place in this schema: `#…`')]),
    ...(isLocal($dynamicRef) ? [] : [invalid([...path, '$dynamicRef'], 'must lead to a place in this schema: `#…`')]),
    ...(typeof format === 'string' && !Object.hasOwn(compiler.formats, format)
      ? [invalid([...path, 'format'], 'is no known format')]
      : []),
    ...[pattern, ...Object.keys(patternProperties ?? {})].flatMap((text, index) =>
      patternProblem(index === 0 ? [...path, 'pattern'] : [...path, 'patternProperties', String(text)], text),
    ),
  ];
}

function isLocal(reference: unknown): boolean {
  return typeof reference !== 'string' || reference.startsWith('#');
}

function patternProblem(path: readonly string[], pattern: unknown): SchemaProblem[] {
  if (typeof pattern !== 'string') return [];
  try {
    void new RegExp(pattern, 'u');
    return [];
  } catch (error) {
    return [invalid(path, `is refused: ${error instanceof Error ? error.message : String(error)}`)];
  }
}

function invalid(path: readonly string[], message: string): SchemaProblem {
  return { path, code: 'INVALID_SCHEMA', message };
}

/** The keys in a JSON Pointer. Source: RFC 6901 §4. */
export function keysOf(pointer: string): string[] {
  return pointer
    .split('/')
    .slice(1)
    .map((key) => key.replaceAll('~1', '/').replaceAll('~0', '~'));
}
