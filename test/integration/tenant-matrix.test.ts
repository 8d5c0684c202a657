import { isInterfaceType } from 'graphql';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { schema } from '../../schema/index.ts';
import { idPrefixes, kindOfId } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import {
  type Arguments,
  documentFor,
  fieldsOf,
  givenIds,
  idPathsOf,
  isRootField,
  type MadeDocument,
  replacedAt,
  type SchemaField,
  selectedFields,
  type ValuePath,
} from '../support/schema-documents.ts';
import { addBelongings, type Belongings, columnsWithout, rowsOf, tracesOf } from '../support/tenant-belongings.ts';
import { argumentsOf, type ForeignOutcome, type MatrixEntry, tenantMatrix } from '../support/tenant-matrix.ts';
import { type Granted, openTenantWorld, type TenantAnswer, type TenantWorld } from '../support/tenant-world.ts';

// Every field that an operation begins with, and every other one that takes ids, is tried through a real gateway: with
// what is one's own, with each id replaced by a foreign one, with each permission alone, with none, and without a key.
// What is tried is made from the schema and the entries of test/support/tenant-matrix.ts.

interface Case extends SchemaField {
  entry: MatrixEntry;
}

const allFields = fieldsOf(schema);
const tried = allFields.filter((field) => isRootField(field) || idPathsOf(field).length > 0);
const cases: Case[] = tried.flatMap((field) => {
  const entry = tenantMatrix[field.name];
  return entry === undefined ? [] : [{ ...field, entry }];
});
const selected = new Set<string>();

let world: TenantWorld;

beforeAll(async () => {
  world = await openTenantWorld();
});
afterAll(async () => await world[Symbol.asyncDispose]());

/** The document of a call; what an interface is expected to be, the id that it is asked for by says. */
function documentOf({ name, parent, field, entry }: Case, args: Arguments, own: Belongings): MadeDocument {
  const [id] = givenIds({ name, parent, field }, args).flatMap(({ value }) => value);
  const kind = id === undefined ? null : kindOfId(id);
  const isNode = isInterfaceType(schema.getType(String(field.type).replaceAll(/[[\]!]/g, '')));
  const on = isNode && kind !== null ? kind.charAt(0).toUpperCase() + kind.slice(1) : null;
  const within = entry.within?.(own) ?? null;
  return documentFor(schema, { name, parent, field }, args, { argumentsOf, on, within });
}

/** The foreign project's counterpart of an id. */
function foreignOf(id: string, own: Belongings): string {
  const [key] = Object.entries(own).find(([, value]) => value === id) ?? [];
  if (key === undefined) throw new Error(`${id} is none of the ids in test/support/tenant-belongings.ts`);
  return world.foreign[key as keyof Belongings];
}

interface ForeignCall {
  path: ValuePath;
  args: Arguments;
  /** Whether an id of one's own stands beside the foreign one. */
  mixed: boolean;
}

/** Calls in which one id is foreign. */
function foreignCalls(tryCase: Case, own: Belongings): ForeignCall[] {
  return tryCase.entry.calls(own).flatMap((args) =>
    givenIds(tryCase, args).flatMap(({ path, value }) => {
      if (typeof value === 'string')
        return [{ path, args: replacedAt(args, path, foreignOf(value, own)), mixed: false }];
      const foreign = value.map((id) => foreignOf(id, own));
      return [foreign, [...value, ...foreign]].map((ids, index) => ({
        path,
        args: replacedAt(args, path, ids),
        mixed: index === 1,
      }));
    }),
  );
}

/** Traces of the foreign project in the answer that the question did not hold. */
function leaksIn(answer: TenantAnswer, { variables }: MadeDocument): string[] {
  const [text, asked] = [JSON.stringify(answer), JSON.stringify(variables)];
  return tracesOf(world.foreign).filter((trace) => text.includes(trace) && !asked.includes(trace));
}

function codesOf({ errors = [] }: TenantAnswer): unknown[] {
  return [...new Set(errors.map(({ extensions }) => extensions?.code))];
}

function isNothing(value: unknown): boolean {
  if (Array.isArray(value)) return value.every(isNothing);
  if (typeof value === 'object' && value !== null) return Object.values(value).every(isNothing);
  return value === null || value === undefined;
}

interface Payload extends Record<string, unknown> {
  userErrors?: readonly { code: string; field: readonly string[] | null }[];
}

function payloadOf({ data }: TenantAnswer): Payload {
  const [payload] = Object.values(data ?? {});
  return (typeof payload === 'object' && payload !== null ? payload : {}) as Payload;
}

/** Which of the outcomes an answer is; anything else in full. */
function outcomeOf(answer: TenantAnswer, call: ForeignCall, own: Belongings): string {
  const { path } = call;
  const { userErrors = [], ...rest } = payloadOf(answer);
  const codes = codesOf(answer);
  if (codes.length > 0) return isOnly(codes, 'NOT_FOUND') && isNothing(answer.data) ? 'error' : JSON.stringify(answer);
  const blamed = userErrors.map((error) => [error.code, ...(error.field ?? []).slice(0, path.length)].join('.'));
  if (blamed.length > 0) {
    return isOnly(blamed, ['NOT_FOUND', ...path].join('.')) && isNothing(rest) ? 'user error' : JSON.stringify(answer);
  }
  const [value] = Object.values(answer.data ?? {});
  return restOf(value, call, own) ?? JSON.stringify(answer);
}

/** What is left of an answer without errors. That nothing foreign is in it is looked for apart. */
function restOf(value: unknown, { mixed }: ForeignCall, own: Belongings): ForeignOutcome | null {
  if (!mixed) return emptinessOf(value);
  return nullItemOf(value) ?? (JSON.stringify(value).includes(own.marker) ? 'empty list' : null);
}

function isOnly(values: readonly unknown[], wanted: string): boolean {
  return values.every((value) => value === wanted);
}

function emptinessOf(value: unknown): ForeignOutcome | null {
  return nullItemOf(value) ?? (JSON.stringify(value).includes('"nodes":[]') ? 'empty list' : null);
}

function nullItemOf(value: unknown): ForeignOutcome | null {
  return Array.isArray(value) && value.at(-1) === null ? 'null item' : null;
}

/** What the case expects of a foreign id at the path. */
function expectedOutcome({ parent, entry: { foreign } }: Case, path: ValuePath): ForeignOutcome {
  const expected = typeof foreign === 'object' ? foreign[dotted(path)] : foreign;
  return expected ?? (parent.name === 'Mutation' ? 'user error' : 'error');
}

/** The path as the schema has it, without places in lists. */
function dotted(path: ValuePath): string {
  return path.filter((step) => typeof step === 'string').join('.');
}

/** The arguments that take a place in a list or a feed. */
function placeNames({ field }: SchemaField): string[] {
  return field.args.map(({ name }) => name).filter((name) => ['after', 'before'].includes(name));
}

/** Places in lists and feeds, taken from the foreign project. */
function foreignPlaces(field: SchemaField): Arguments[] {
  const place = field.parent.name === 'Subscription' ? world.foreign.feedCursor : world.foreign.pageCursor;
  return placeNames(field).map((name) => ({ [name]: place }));
}

function takesIdOrPlace(field: SchemaField): boolean {
  return idPathsOf(field).length > 0 || placeNames(field).length > 0;
}

test('every root field, and every field that takes ids, has an entry in test/support/tenant-matrix.ts', () => {
  expect(Object.keys(tenantMatrix).toSorted()).toEqual(tried.map(({ name }) => name).toSorted());
});

test('every text that the database can hold is marked in the foreign project', async () => {
  expect(await columnsWithout(world.fixture, world.foreign.marker)).toEqual([]);
});

test('there is something of every kind that has an id', () => {
  const kinds = new Set(Object.values(world.foreign).map((value) => kindOfId(value)));
  // A secret is only ever seen through its webhook.
  expect(Object.keys(idPrefixes).filter((kind) => kind !== 'webhookSecret' && !kinds.has(kind as never))).toEqual([]);
});

test.each(cases)('$name gives what is one’s own, and nothing of another project', async (tryCase) => {
  const { entry } = tryCase;
  const own = await world.own();
  const before = await rowsOf(world.fixture, world.foreign.project);
  const paths = new Set<string>();
  for (const args of entry.calls(own)) {
    for (const { path } of givenIds(tryCase, args)) paths.add(dotted(path));
    const document = documentOf(tryCase, args, own);
    for (const name of selectedFields(schema, document.query)) selected.add(name);
    const answer = await world.ask(document, entry.needs === 'ADMINISTRATOR' ? entry.needs : [entry.needs]);
    expect([answer.errors, payloadOf(answer).userErrors ?? []]).toEqual([undefined, []]);
    // An exception that is none any more is found as well.
    expect(JSON.stringify(answer).includes(own.marker)).toBe(entry.showsNothing === undefined);
    expect(leaksIn(answer, document)).toEqual([]);
  }
  expect([...paths].toSorted()).toEqual(idPathsOf(tryCase).toSorted());
  expect(await rowsOf(world.fixture, world.foreign.project)).toBe(before);
});

test.each(cases.filter(takesIdOrPlace))('$name takes no id and no place of another project', async (tryCase) => {
  const { entry } = tryCase;
  const own = await world.own();
  const before = await rowsOf(world.fixture, world.foreign.project);
  for (const call of foreignCalls(tryCase, own)) {
    const document = documentOf(tryCase, call.args, own);
    for (const ask of [world.ask, world.askOverWebsocket]) {
      const answer = await ask(document, permissions);
      expect([dotted(call.path), outcomeOf(answer, call, own)]).toEqual([
        dotted(call.path),
        expectedOutcome(tryCase, call.path),
      ]);
      expect(leaksIn(answer, document)).toEqual([]);
    }
  }
  const [plain = {}] = entry.calls(own);
  for (const place of foreignPlaces(tryCase)) {
    const { first: _first, ...rest } = plain;
    const document = documentOf(tryCase, { ...rest, ...place }, own);
    expect(leaksIn(await world.ask(document, permissions), document)).toEqual([]);
  }
  expect(await rowsOf(world.fixture, world.foreign.project)).toBe(before);
});

test.each(cases)('$name is refused without a key', async (tryCase) => {
  const { entry } = tryCase;
  const own = await world.own();
  const [args = {}] = entry.calls(own);
  for (const ask of [world.ask, world.askOverWebsocket]) {
    const answer = await ask(documentOf(tryCase, args, own), null);
    expect(codesOf(answer)).toEqual(['UNAUTHENTICATED']);
    expect(isNothing(answer.data)).toBe(true);
  }
});

test.each(cases.filter(isRootField))('$name needs $entry.needs, and no other permission will do', async (tryCase) => {
  const { field, entry } = tryCase;
  expect(field.extensions['needs']).toBe(entry.needs);
  for (const granted of ['ADMINISTRATOR' as const, [], ...permissions.map((permission) => [permission])]) {
    const own = await world.own();
    const [args = {}] = entry.calls(own);
    const answer = await world.ask(documentOf(tryCase, args, own), granted);
    const who = granted === 'ADMINISTRATOR' ? granted : granted[0];
    expect([who, ...codesOf(answer)]).toEqual([who, ...(who === entry.needs ? [] : ['FORBIDDEN'])]);
    for (const { message } of answer.errors ?? []) expect(message).toContain(refusalOf(entry.needs, granted));
  }
});

/** What a refusal says is missing. */
function refusalOf(needs: MatrixEntry['needs'], granted: Granted): string {
  if (granted === 'ADMINISTRATOR') return 'The administrator belongs to no project';
  return needs === 'ADMINISTRATOR' ? 'Only the administrator may do this.' : `lacks the permission ${needs}.`;
}

/** Leaves out what depends on when it is asked for. */
function withoutClock(key: string, value: unknown): unknown {
  return ['since', 'until', 'series', 'earliestAt', 'latestAt'].includes(key) ? null : value;
}

// What a list or a figure counts is not marked.
test('what another project gets changes no answer of ours, counts included', async () => {
  const own = await world.own();
  const [since, until] = [-3_600_000, 3_600_000].map((ms) => new Date(Date.now() + ms).toISOString());
  const queries = cases
    .filter(({ parent, name }) => parent.name === 'Query' && name !== 'Query.feedCursor')
    .map((tryCase) => {
      const [args = {}] = tryCase.name === 'Query.deliveryStats' ? [{ since, until }] : tryCase.entry.calls(own);
      return { name: tryCase.name, document: documentOf(tryCase, args, own) };
    });
  const answers = async () => {
    const asked = queries.map(async ({ name, document }) => ({
      name,
      answer: JSON.stringify(await world.ask(document, permissions), withoutClock),
    }));
    return await Promise.all(asked);
  };
  const before = await answers();
  await addBelongings(world.fixture, world.fixture.strangerId, 'leakoflater');
  expect(await answers()).toEqual(before);
  await world.own();
  const counted = (await answers()).filter(({ answer }, index) => answer !== before[index]?.answer);
  expect(counted.map(({ name }) => name)).toEqual(expect.arrayContaining(['Query.deliveryStats', 'Query.recoveries']));
});

test('every field of every type has been selected', () => {
  expect(allFields.map(({ name }) => name).filter((name) => !selected.has(name))).toEqual([]);
});
