/** A schema within a schema, with the keys that lead to it. */
export interface Subschema {
  path: readonly string[];
  schema: Readonly<Record<string, unknown>>;
}

/** Keywords by what they hold. Source: JSON Schema draft-07 and 2020-12, core and applicator vocabularies. */
const holdsOne = new Set([
  'not',
  'if',
  'then',
  'else',
  'items',
  'additionalItems',
  'contains',
  'propertyNames',
  'additionalProperties',
  'unevaluatedItems',
  'unevaluatedProperties',
  'contentSchema',
]);
const holdsList = new Set(['allOf', 'anyOf', 'oneOf', 'prefixItems', 'items']);
const holdsMap = new Set([
  'properties',
  'patternProperties',
  'dependentSchemas',
  'dependencies',
  '$defs',
  'definitions',
]);

/**
 * Every schema in the schema, itself first, level by level; `true` and `false` are left out, as is whatever is only data
 * (`const`, `enum`, `default`, `examples`).
 */
export function* subschemasOf(schema: unknown): Generator<Subschema> {
  let level = [...found([], schema)];
  while (level.length > 0) {
    yield* level;
    level = level.flatMap(({ path, schema: parent }) =>
      Object.entries(parent).flatMap(([keyword, value]) => heldBy([...path, keyword], keyword, value)),
    );
  }
}

function heldBy(path: readonly string[], keyword: string, value: unknown): Subschema[] {
  if (Array.isArray(value)) {
    return holdsList.has(keyword) ? value.flatMap((item: unknown, index) => found([...path, String(index)], item)) : [];
  }
  if (holdsOne.has(keyword)) return found(path, value);
  if (!holdsMap.has(keyword) || !isObject(value)) return [];
  return Object.entries(value).flatMap(([name, item]) => found([...path, name], item));
}

function found(path: readonly string[], schema: unknown): Subschema[] {
  return isObject(schema) ? [{ path, schema }] : [];
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
