import { afterAll, beforeAll, expect, test } from 'vitest';
import { schema } from '../../schema/index.ts';
import { permissions } from '../../src/domain/permissions.ts';
import { hostileCalls } from '../support/hostile-values.ts';
import { type Arguments, documentFor, fieldsOf, type SchemaField } from '../support/schema-documents.ts';
import { tenantMatrix } from '../support/tenant-matrix.ts';
import { openTenantWorld, type TenantAnswer, type TenantWorld } from '../support/tenant-world.ts';

// Every place of the API that takes a value, as the schema has them, is given what Postgres, URLs or dates cannot hold and
// what nobody expects there. Whatever comes back is the caller's to mend: nothing of it is a bug of ours.

const tried = fieldsOf(schema).filter(({ name, field }) => name in tenantMatrix && field.args.length > 0);
const codes: ReadonlySet<unknown> = new Set(['BAD_USER_INPUT', 'NOT_FOUND', 'QUERY_TOO_COMPLEX', 'CURSOR_EXPIRED']);

let world: TenantWorld;
beforeAll(async () => {
  world = await openTenantWorld();
});
afterAll(async () => await world[Symbol.asyncDispose]());

function codesOf({ errors = [] }: TenantAnswer): unknown[] {
  return errors.map(({ extensions }) => extensions?.code);
}

/** Characters that an answer may have to a question without pages. */
const answerLengthMax = 500_000;

/** The codes of the errors that the call is answered with, and what is wrong with the answer. */
async function codesOfCall(field: SchemaField, args: Arguments): Promise<unknown[]> {
  const entry = tenantMatrix[field.name];
  const within = entry?.within?.(world.foreign) ?? null;
  const document = documentFor(schema, field, args, { argumentsOf: {}, on: null, within });
  if (field.parent.name !== 'Subscription') {
    const answer = await world.ask(document, entry?.needs === 'ADMINISTRATOR' ? entry.needs : permissions);
    return [...codesOf(answer), ...(JSON.stringify(answer).length > answerLengthMax ? ['a long answer'] : [])];
  }
  const watched = await world.fixture.watch(document.query, document.variables);
  if (watched.kind === 'started') await watched.stop();
  return watched.kind === 'started' ? [] : watched.answer.errors.map(({ code }) => code);
}

test.each(tried)('$name answers whatever it is given without an error of ours', { timeout: 60_000 }, async (field) => {
  const own = await world.own();
  const [args = {}] = tenantMatrix[field.name]?.calls(own) ?? [];
  const wrong: unknown[] = [];
  for (const { place, value, args: hostile } of hostileCalls(field, args)) {
    const found = await codesOfCall(field, hostile);
    const unexpected = found.filter((code) => !codes.has(code));
    if (unexpected.length > 0) wrong.push([place, value, ...unexpected]);
  }
  expect(wrong).toEqual([]);
});
