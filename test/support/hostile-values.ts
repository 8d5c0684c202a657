import {
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isListType,
  isRequiredInputField,
} from 'graphql';
import { idPrefixes } from '../../src/domain/ids.ts';
import type { Arguments, SchemaField } from './schema-documents.ts';

// Values that a caller may send in every place of the API, made from the schema: what its type allows, and what whoever
// wrote the place may not have thought of.

/** Arguments with one hostile value in them. */
export interface HostileCall {
  /** The dotted path of the place, as in `input.headers.name`. */
  place: string;
  value: unknown;
  args: Arguments;
}

type Place = GraphQLArgument | GraphQLInputField;

/** Levels of inputs in inputs; none refers to itself. */
const depthMax = 5;
const suffix = '01h455vb4pex5vsknk084sn02q';
const texts: readonly string[] = [
  '',
  ' ',
  '\0',
  'a\0b',
  '\uD800',
  'a\uDFFFb',
  '\u{10FFFF}',
  '\u202E\uFEFF',
  '%_\\',
  `'"; --`,
  '__proto__',
  'constructor',
  'x'.repeat(100_000),
  '*',
  'a.*',
  `${'a'.repeat(300)}.*`,
];
const ids: readonly string[] = [
  ...Object.values(idPrefixes).flatMap((prefix) => [
    `${prefix}_${suffix}`,
    `${prefix}_${suffix.toUpperCase()}`,
    `${prefix}_${suffix}\0`,
    `${prefix}_7${'z'.repeat(25)}`,
    `${prefix}_8${'z'.repeat(25)}`,
    `${prefix}_${'0'.repeat(26)}`,
    `${prefix}_`,
  ]),
  '00000000-0000-0000-0000-000000000000',
];
const numbers: readonly number[] = [0, 1, -1, 100, 101, 2_147_483_647, -2_147_483_648];
const instants: readonly string[] = [
  '0000-12-31T23:59:59Z',
  '0001-01-01T00:00:00Z',
  '0001-01-01T00:00:00+14:00',
  '1969-12-31T23:59:59.999Z',
  '2016-12-31T23:59:60Z',
  '2026-02-30T00:00:00Z',
  '2026-01-31T24:00:00Z',
  '2026-01-31T12:00:00.123456789-23:59',
  '9999-12-31T23:59:59.999Z',
  '+275760-09-13T00:00:00.000Z',
  '2026-01-31T12:00:00Z\0',
];
const json: readonly unknown[] = [
  ...texts,
  ...numbers,
  1e308,
  true,
  {},
  [],
  { '\0': '\0', '\uD800': '\uDC00' },
  JSON.parse('{"__proto__":{"type":"object"},"constructor":1}'),
  JSON.parse(`${'['.repeat(65)}${']'.repeat(65)}`),
  { $ref: '#' },
  { $ref: 'https://example.com/schema.json' },
  { type: 'string', pattern: '(a+)+$' },
];
const valuesOfScalar: Readonly<Record<string, readonly unknown[]>> = {
  String: texts,
  ID: [...texts, ...ids],
  Int: numbers,
  Float: numbers,
  Boolean: [true, false],
  DateTime: instants,
  JSON: json,
};
const listLengths = [101, 60_000];

/** The arguments with each hostile value in each of the field's places, those in inputs of inputs too. */
export function hostileCalls({ field }: SchemaField, args: Arguments): HostileCall[] {
  return field.args.flatMap((argument) =>
    callsBelow(argument, args[argument.name], 0).map(({ place, value, whole }) => ({
      place,
      value,
      args: { ...args, [argument.name]: whole },
    })),
  );
}

interface Replaced {
  place: string;
  value: unknown;
  /** What stands in the place of which it is a part. */
  whole: unknown;
}

function callsBelow({ name, type }: Place, given: unknown, depth: number): Replaced[] {
  return replacedIn(type, given, depth).map(({ place, value, whole }) => ({
    place: place === '' ? name : `${name}.${place}`,
    value,
    whole,
  }));
}

function replacedIn(given: GraphQLInputType, now: unknown, depth: number): Replaced[] {
  const type = getNullableType(given);
  const missing = type === given ? [itself(null)] : [];
  if (isListType(type)) return [...missing, ...replacedInList(type.ofType, now, depth)];
  if (!isInputObjectType(type)) return [...missing, ...valuesOf(type).map(itself)];
  if (depth >= depthMax) throw new Error(`${type.name} is nested too deeply to be tried`);
  const base = isObject(now) ? now : leastObjectOf(type);
  const parts = Object.values(type.getFields()).flatMap((field) =>
    callsBelow(field, base[field.name], depth + 1).map(({ place, value, whole }) => ({
      place,
      value,
      whole: { ...base, [field.name]: whole },
    })),
  );
  return [...missing, ...parts];
}

function replacedInList(type: GraphQLInputType, now: unknown, depth: number): Replaced[] {
  const first: unknown = Array.isArray(now) ? now[0] : undefined;
  const item = first ?? leastOf(type);
  const long = listLengths.map((length) => ({
    place: '',
    value: `${length} items`,
    whole: Array.from({ length }, () => item),
  }));
  return [
    itself([]),
    ...long,
    ...replacedIn(type, first, depth)
      .filter(({ whole }) => whole !== null)
      .map(({ place, value, whole }) => ({ place, value, whole: [whole] })),
  ];
}

function itself(value: unknown): Replaced {
  return { place: '', value, whole: value };
}

function valuesOf(type: GraphQLInputType): readonly unknown[] {
  if (isEnumType(type)) return type.getValues().map(({ name }) => name);
  const values = valuesOfScalar[String(type)];
  if (values === undefined) throw new Error(`say which values of ${String(type)} are to be tried`);
  return values;
}

/** The least that a type takes. */
function leastOf(given: GraphQLInputType): unknown {
  const type = getNullableType(given);
  if (isListType(type)) return [];
  if (isInputObjectType(type)) return leastObjectOf(type);
  return String(type) === 'String' ? 'constructor' : valuesOf(type)[1];
}

function leastObjectOf(type: GraphQLInputObjectType): Arguments {
  const required = Object.values(type.getFields()).filter((field) => isRequiredInputField(field));
  return Object.fromEntries(required.map((field) => [field.name, leastOf(field.type)]));
}

function isObject(value: unknown): value is Arguments {
  return typeof value === 'object' && value !== null;
}
