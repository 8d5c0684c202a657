import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { createProject } from '../../src/store/projects.ts';
import { type Answer, openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addWebhook } from '../support/store-fixture.ts';

let fixture: SchemaFixture;

beforeAll(async () => {
  fixture = await openSchemaFixture();
});
afterAll(async () => await fixture[Symbol.asyncDispose]());

const upsertDocument = `mutation ($input: UpsertEventTypeInput!) {
  upsertEventType(input: $input) {
    eventType { id name description schema createdAt updatedAt } created userErrors { field code message }
  }
}`;
const emitDocument = `mutation ($input: EmitEventInput!) {
  emitEvent(input: $input) { event { id } deliveryCount duplicate userErrors { field code message } }
}`;

async function upsert(input: object) {
  const { data, errors } = await fixture.run(upsertDocument, { input });
  expect(errors).toEqual([]);
  return data.upsertEventType;
}

async function emit(input: object) {
  const { data, errors } = await fixture.run(emitDocument, { input });
  expect(errors).toEqual([]);
  return data.emitEvent;
}

async function auditOf(targetId: string): Promise<string[]> {
  const rows = await fixture.db.prisma.auditEntry.findMany({ where: { targetId }, orderBy: { id: 'asc' } });
  return rows.map(({ action }) => action);
}

const versioned = { type: 'object', required: ['version'], properties: { version: { type: 'integer' } } };

describe('an event type', () => {
  test('is made, changed where something is said, emptied by null, and audited each time', async () => {
    const made = await upsert({ name: 'config.made', description: 'Somebody deployed', schema: versioned });
    expect(made).toMatchObject({
      created: true,
      userErrors: [],
      eventType: { id: expect.stringMatching(/^ety_/), name: 'config.made', schema: versioned },
    });
    const changed = await upsert({ name: 'config.made', description: 'Deployed' });
    expect(changed).toMatchObject({
      created: false,
      eventType: { id: made.eventType.id, description: 'Deployed', schema: versioned },
    });
    const emptied = await upsert({ name: 'config.made', description: null, schema: null });
    expect(emptied.eventType).toMatchObject({ description: null, schema: null });
    expect(await auditOf(made.eventType.id)).toEqual(['upsertEventType', 'upsertEventType', 'upsertEventType']);
  });

  test('keeps its schema as it was given', async () => {
    const schema = { properties: { zeta: { const: { b: 1, a: 2 } }, alpha: { pattern: '^\\p{L}$' } }, $comment: 'ü' };
    const { eventType } = await upsert({ name: 'config.kept', schema });
    expect(JSON.stringify(eventType.schema)).toBe(JSON.stringify(schema));
  });

  test('is a node, and stands in the list, newest first, page by page', async () => {
    const ids: string[] = [];
    for (const name of ['list.a', 'list.b', 'list.c']) ids.unshift((await upsert({ name })).eventType.id);
    const { data } = await fixture.run(
      'query ($id: ID!) { node(id: $id) { id ... on EventType { name } } eventTypes(first: 2) { nodes { id } pageInfo { endCursor } totalCount } }',
      { id: ids[1] },
    );
    expect(data.node).toEqual({ id: ids[1], name: 'list.b' });
    expect(data.eventTypes.nodes.map(({ id }: { id: string }) => id)).toEqual(ids.slice(0, 2));
    expect(data.eventTypes.totalCount).toBe(await fixture.db.prisma.eventType.count());
    const next = await fixture.run('query ($after: String) { eventTypes(first: 1, after: $after) { nodes { id } } }', {
      after: data.eventTypes.pageInfo.endCursor,
    });
    expect(next.data.eventTypes.nodes).toEqual([{ id: ids[2] }]);
  });

  test.each([
    [{ name: 'Not.Ok' }, ['name'], 'INVALID_EVENT_TYPE', '"Not.Ok"'],
    [{ name: 'posthorn.test' }, ['name'], 'RESERVED_EVENT_TYPE', 'posthorn.test'],
    [{ description: 'x'.repeat(1_001) }, ['description'], 'INVALID_DESCRIPTION', '1,000'],
    [{ schema: 'text' }, ['schema'], 'INVALID_SCHEMA', 'an object'],
    [
      { schema: { properties: { a: { type: 'strin' } } } },
      ['schema', 'properties', 'a', 'type'],
      'INVALID_SCHEMA',
      'must be',
    ],
    [
      { schema: { allOf: [{ $ref: 'http://a/b' }] } },
      ['schema', 'allOf', '0', '$ref'],
      'INVALID_SCHEMA',
      'in this schema',
    ],
    [{ schema: { items: { format: 'phone' } } }, ['schema', 'items', 'format'], 'INVALID_SCHEMA', 'no known format'],
    [{ schema: { description: 'x'.repeat(40_000) } }, ['schema'], 'SCHEMA_TOO_LARGE', '32768'],
  ])('is refused for %j, naming the field, and nothing is written', async (wrong, path, code, text) => {
    const before = await fixture.db.prisma.eventType.count();
    const { eventType, created, userErrors } = await upsert({ name: 'config.bad', ...wrong });
    expect({ eventType, created }).toEqual({ eventType: null, created: null });
    expect(userErrors[0]).toMatchObject({ field: ['input', ...path], code });
    expect(userErrors[0].message).toContain(text);
    expect(userErrors[0].message).toContain(path.join('.'));
    expect(await fixture.db.prisma.eventType.count()).toBe(before);
  });

  test('made by many at once is made once', async () => {
    const results = await Promise.all(
      Array.from({ length: 8 }, async (_, index) => await upsert({ name: 'config.raced', description: `${index}` })),
    );
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    expect(new Set(results.map(({ eventType }) => eventType.id)).size).toBe(1);
  });
});

describe('data', () => {
  test('that does not match is refused with the place, the reason and the value, and nothing is stored', async () => {
    await addWebhook(fixture);
    await upsert({ name: 'data.checked', schema: { ...versioned, additionalProperties: false } });
    const before = await fixture.db.prisma.event.count();
    expect(await emit({ type: 'data.checked', data: { version: 'two' } })).toEqual({
      event: null,
      deliveryCount: null,
      duplicate: null,
      userErrors: [
        {
          field: ['input', 'data', 'version'],
          code: 'DATA_DOES_NOT_MATCH',
          message: 'data.version must be integer, not "two": the schema of data.checked says so.',
        },
      ],
    });
    expect((await emit({ type: 'data.checked' })).userErrors).toMatchObject([{ field: ['input', 'data'] }]);
    expect(await fixture.db.prisma.event.count()).toBe(before);
    expect(await emit({ type: 'data.checked', data: { version: 2 } })).toMatchObject({
      deliveryCount: 1,
      userErrors: [],
    });
  });

  test('of a type that is not described, or without a schema, is taken as it is', async () => {
    await upsert({ name: 'data.free', description: 'Anything' });
    for (const type of ['data.free', 'data.unknown']) expect((await emit({ type, data: 5 })).userErrors).toEqual([]);
  });

  test('of a test is not checked', async () => {
    const webhookId = await addWebhook(fixture, { eventTypes: ['none'] });
    await upsert({ name: 'data.tested', schema: versioned });
    const result = await fixture.contextOf(fixture.projectId).emitEvent({
      projectId: fixture.projectId,
      type: 'data.tested',
      data: 'no object',
      idempotencyKey: null,
      occurredAt: new Date(),
      deliverAt: null,
      testWebhookId: webhookId,
    });
    expect(result.kind).toBe('stored');
  });

  test('of another project is checked against its own schema', async () => {
    const { eventType } = await upsert({ name: 'data.ours', schema: versioned });
    const theirs = fixture.contextOf(fixture.strangerId);
    const { data } = await fixture.run(
      'mutation { upsertEventType(input: { name: "data.ours" }) { created eventType { id } } }',
      {},
      theirs,
    );
    expect(data.upsertEventType.created).toBe(true);
    expect(data.upsertEventType.eventType.id).not.toBe(eventType.id);
    const answer = await fixture.run(emitDocument, { input: { type: 'data.ours', data: 'theirs' } }, theirs);
    expect(answer.data.emitEvent.userErrors).toEqual([]);
  });

  test('is checked at once against a schema that another process has changed, tightened or loosened', async () => {
    // An emitter of its own knows nothing but what its database tells it, as another process does.
    const emitElsewhere = createEmitter(fixture.db, { maxAttempts: 6 });
    const kindElsewhere = async (data: unknown): Promise<string> => {
      const input = { type: 'data.moving', data, idempotencyKey: null, occurredAt: new Date() };
      return (await emitElsewhere({ ...input, projectId: fixture.projectId, deliverAt: null, testWebhookId: null }))
        .kind;
    };
    const kinds: string[] = [];
    kinds.push(await kindElsewhere('text'));
    const { eventType } = await upsert({ name: 'data.moving', schema: { type: 'number' } });
    kinds.push(await kindElsewhere('text'), await kindElsewhere(1));
    await upsert({ name: 'data.moving', schema: { type: 'string' } });
    kinds.push(await kindElsewhere('text'), await kindElsewhere(1));
    await fixture.run('mutation ($id: ID!) { deleteEventType(input: { id: $id }) { eventType { name } } }', {
      id: eventType.id,
    });
    kinds.push(await kindElsewhere('text'), await kindElsewhere(1));
    expect(kinds).toEqual(['stored', 'refused', 'stored', 'stored', 'refused', 'stored', 'stored']);
    expect(await auditOf(eventType.id)).toEqual(['upsertEventType', 'upsertEventType', 'deleteEventType']);
  });

  test('costs no statement more to be checked, once its schema is known', async () => {
    await upsert({ name: 'data.fast', schema: versioned });
    const emitEvent = createEmitter(fixture.db, { maxAttempts: 6 });
    const input = {
      type: 'data.fast',
      idempotencyKey: null,
      occurredAt: new Date(),
      deliverAt: null,
      testWebhookId: null,
    };
    const emitOne = async (): Promise<unknown> =>
      await emitEvent({ ...input, projectId: fixture.projectId, data: { version: 1 } });
    await emitOne();
    const { query } = fixture.db.pipeline;
    const texts: string[] = [];
    fixture.db.pipeline.query = ((...args: Parameters<typeof query>) => {
      texts.push(String((args[0] as { name?: string }).name));
      return query.apply(fixture.db.pipeline, args);
    }) as typeof query;
    await emitOne();
    fixture.db.pipeline.query = query;
    expect(texts).toEqual(['emit-events']);
  });

  test('that was stored before is the first result again, though the schema has changed since', async () => {
    const input = { type: 'data.keyed', data: { v: 1 }, idempotencyKey: 'keyed' };
    const first = await emit(input);
    await upsert({ name: 'data.keyed', schema: versioned });
    expect(await emit(input)).toMatchObject({ event: first.event, duplicate: true, userErrors: [] });
    expect((await emit({ ...input, data: { v: 2 } })).userErrors).toMatchObject([{ code: 'IDEMPOTENCY_CONFLICT' }]);
  });

  test('that takes too long to check is refused, others are not held up by it, and its project is throttled', async () => {
    await upsert({ name: 'data.slow', schema: { properties: { text: { pattern: '^(a+)+$' } } } });
    const slow = { type: 'data.slow', data: { text: `${'a'.repeat(40)}b` } };
    const answers = await Promise.all(
      [slow, { type: 'data.slow', data: { text: 'aa' } }, { type: 'data.unknown' }].map(
        async (input) => await emit(input),
      ),
    );
    expect(answers.map(({ userErrors }) => userErrors.map(({ code }: { code: string }) => code))).toEqual([
      ['DATA_CHECK_TOO_COSTLY'],
      [],
      [],
    ]);
    // Each takes 100 ms of the 200 that the project may: soon what is harmless has to wait as well.
    const harmless: string[] = [];
    for (let count = 0; count < 10 && harmless.at(-1) !== 'DATA_CHECK_TOO_COSTLY'; count += 1) {
      const [, { userErrors }] = await Promise.all([emit(slow), emit({ type: 'data.slow', data: { text: 'aa' } })]);
      harmless.push(userErrors[0]?.code ?? 'taken');
    }
    expect(harmless.at(-1)).toBe('DATA_CHECK_TOO_COSTLY');
    expect((await emit({ type: 'data.unknown' })).userErrors).toEqual([]);
  });
});

test('a project whose schemas take long to compile soon has to wait, and another one has not', async () => {
  const context = fixture.contextOf(fixture.strangerId);
  const run = async (input: object, asked = context): Promise<string[]> => {
    const { data } = await fixture.run(upsertDocument, { input: { name: 'data.heavy', ...input } }, asked);
    return data.upsertEventType.userErrors.map(({ code }: { code: string }) => code);
  };
  let codes: string[] = [];
  for (let round = 0; round < 200 && codes.length === 0; round += 1) codes = await run({ schema: heavySchema(round) });
  expect(codes).toEqual(['SCHEMA_TOO_COSTLY']);
  expect(await run({ schema: null })).toEqual([]);
  expect((await upsert({ name: 'data.light', schema: versioned })).userErrors).toEqual([]);
}, 60_000);

test('events of types that must be compiled are refused to a project whose schemas take long, and others are taken', async () => {
  const projectId = idFromUuid('project', (await createProject(fixture.db, 'Many large types')).id);
  const context = fixture.contextOf(projectId);
  const codesOf = async (type: string): Promise<string[]> => {
    const { data } = await fixture.run(emitDocument, { input: { type, data: {} } }, context);
    return data.emitEvent.userErrors.map(({ code }: { code: string }) => code);
  };
  await fixture.db.pipeline.query(
    `insert into event_types (id, project_id, name, schema)
     select gen_random_uuid(), $1, 'large.t' || n, schema from json_array_elements($2) with ordinality as made(schema, n)`,
    [uuidOf(projectId), JSON.stringify(Array.from({ length: 400 }, (_, round) => ({ not: heavySchema(round) })))],
  );
  let taken = 0;
  let codes: string[] = [];
  while (taken < 400 && codes.length === 0) {
    codes = await codesOf(`large.t${taken + 1}`);
    if (codes.length === 0) taken += 1;
  }
  expect(codes).toEqual(['DATA_CHECK_TOO_COSTLY']);
  expect(taken).toBeGreaterThan(0);
  expect(await codesOf(`large.t${taken}`)).toEqual([]);
  expect(await codesOf('large.without_schema')).toEqual([]);
  await upsert({ name: 'data.others', schema: versioned });
  expect((await emit({ type: 'data.others', data: { version: 1 } })).userErrors).toEqual([]);
}, 60_000);

function heavySchema(round: number): object {
  const names = Array.from({ length: 240 }, (_, index) => `k${round}_${index}`);
  return {
    oneOf: names.map((name) => ({ type: 'object', properties: { [name]: { type: 'string', format: 'email' } } })),
  };
}

test('a project describes at most 1,000 event types, and can still change those', async () => {
  const projectId = fixture.strangerId;
  const context = fixture.contextOf(projectId);
  const run = async (name: string): Promise<Answer> => await fixture.run(upsertDocument, { input: { name } }, context);
  await fixture.db.pipeline.query(
    "insert into event_types (id, project_id, name) select gen_random_uuid(), $1, 'many.t' || n from generate_series(1, 1000) n",
    [uuidOf(projectId)],
  );
  const { data } = await run('many.one_more');
  expect(data.upsertEventType.userErrors).toMatchObject([{ code: 'TOO_MANY_EVENT_TYPES', field: ['input', 'name'] }]);
  expect((await run('many.t7')).data.upsertEventType).toMatchObject({ created: false, userErrors: [] });
});
