import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pauseWebhook } from '../../src/store/webhook-status.ts';
import { type Answer, openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addWebhook } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: SchemaFixture;

beforeAll(async () => {
  fixture = await openSchemaFixture();
  await addWebhook(fixture, { eventTypes: ['bulk.*'] });
  await addWebhook(fixture, { eventTypes: ['bulk.*'] });
  const paused = await addWebhook(fixture, { eventTypes: ['bulk.*'] });
  await pauseWebhook(fixture.db, fixture.projectId, paused, testActor);
  await fixture.run(
    'mutation ($schema: JSON) { upsertEventType(input: { name: "bulk.checked", schema: $schema }) { created } }',
    { schema: { properties: { n: { type: 'integer' } } } },
  );
});
afterAll(async () => await fixture[Symbol.asyncDispose]());

const emitDocument = `mutation ($events: [EmitEventItem!]!) {
  emitEvents(input: { events: $events }) {
    results { event { id type data } deliveryCount duplicate userErrors { field code message } }
    userErrors { field code message }
  }
}`;

async function emitEvents(events: readonly object[]): Promise<Answer['data']> {
  const { data, errors } = await fixture.run(emitDocument, JSON.parse(JSON.stringify({ events })));
  expect(errors).toEqual([]);
  return data.emitEvents;
}

/** The emit statements that run meanwhile. */
async function countEmitStatements(work: () => Promise<void>): Promise<number> {
  const { pipeline } = fixture.db;
  const { query } = pipeline;
  let count = 0;
  pipeline.query = ((...args: Parameters<typeof query>) => {
    if ((args[0] as { name?: string }).name === 'emit-events') count += 1;
    return query.apply(pipeline, args);
  }) as typeof query;
  try {
    await work();
  } finally {
    pipeline.query = query;
  }
  return count;
}

describe('emitEvents', () => {
  test('stores the good ones and says for each bad one what is wrong with it, in order', async () => {
    const before = await fixture.db.prisma.event.count();
    const { results, userErrors } = await emitEvents([
      { type: 'bulk.free', data: { n: 'first' } },
      { type: 'Bad Type' },
      { type: 'bulk.checked', data: { n: 1.5 } },
      { type: 'posthorn.mine' },
      { type: 'bulk.checked', data: { n: 2 } },
      { type: 'bulk.free', data: 'x'.repeat(256 * 1024), idempotencyKey: '' },
    ]);
    expect(userErrors).toEqual([]);
    expect(results).toMatchObject([
      { event: { type: 'bulk.free', data: { n: 'first' } }, deliveryCount: 3, duplicate: false, userErrors: [] },
      { event: null, userErrors: [{ field: ['input', 'events', '1', 'type'], code: 'INVALID_EVENT_TYPE' }] },
      { event: null, userErrors: [{ field: ['input', 'events', '2', 'data', 'n'], code: 'DATA_DOES_NOT_MATCH' }] },
      { event: null, userErrors: [{ field: ['input', 'events', '3', 'type'], code: 'RESERVED_EVENT_TYPE' }] },
      { event: { data: { n: 2 } }, deliveryCount: 3, userErrors: [] },
      {
        event: null,
        userErrors: [
          { field: ['input', 'events', '5', 'data'], code: 'DATA_TOO_LARGE' },
          { field: ['input', 'events', '5', 'idempotencyKey'], code: 'INVALID_IDEMPOTENCY_KEY' },
        ],
      },
    ]);
    expect(await fixture.db.prisma.event.count()).toBe(before + 2);
  });

  test('refuses none and more than 1,000 as a whole, and stores nothing', async () => {
    const before = await fixture.db.prisma.event.count();
    for (const count of [0, 1_001]) {
      expect(await emitEvents(Array.from({ length: count }, () => ({ type: 'bulk.free' })))).toEqual({
        results: [],
        userErrors: [
          {
            field: ['input', 'events'],
            code: 'INVALID_EVENT_COUNT',
            message: `events must be from 1 to 1000, not ${count}.`,
          },
        ],
      });
    }
    expect(await fixture.db.prisma.event.count()).toBe(before);
  });

  test('stores 1,000 in two statements, in order, and hints at and announces every delivery once', async () => {
    const subscription = await fixture.feed.subscribe(fixture.projectId, { signal: AbortSignal.timeout(10_000) });
    fixture.enqueued.length = 0;
    let results: Answer['data'] = [];
    const statementCount = await countEmitStatements(async () => {
      ({ results } = await emitEvents(Array.from({ length: 1_000 }, (_, n) => ({ type: 'bulk.many', data: { n } }))));
    });
    expect(statementCount).toBe(2);
    expect(results.map(({ event }: Answer['data']) => event.data.n)).toEqual(
      Array.from({ length: 1_000 }, (_, n) => n),
    );
    expect(new Set(fixture.enqueued).size).toBe(2_000); // the third webhook is paused: its deliveries wait
    expect(fixture.enqueued).toHaveLength(2_000);
    const announced = new Set<string>();
    for await (const { entry } of subscription) {
      if (entry.delivery !== null) announced.add(entry.delivery.id);
      if (announced.size === 3_000) break;
    }
    expect(announced.size).toBe(3_000);
  });

  test('stores fewer at a time when there are many webhooks to deliver to', async () => {
    const project = fixture.contextOf(fixture.strangerId);
    await fixture.db.pipeline.query(
      `insert into webhooks (id, project_id, name, url, event_types, headers)
       select gen_random_uuid(), $1, 'Many', 'https://example.com', '{*}', '[]'::json from generate_series(1, 200)`,
      [(await fixture.db.prisma.project.findFirstOrThrow({ where: { name: 'A stranger' } })).id],
    );
    const events = Array.from({ length: 120 }, () => ({ type: 'bulk.wide' }));
    const statementCount = await countEmitStatements(async () => {
      const { data } = await fixture.run(emitDocument, { events }, project);
      expect(data.emitEvents.results.map(({ deliveryCount }: Answer['data']) => deliveryCount)).toEqual(
        events.map(() => 200),
      );
    });
    expect(statementCount).toBe(3); // 50 events make 10,000 deliveries
  });

  test('keeps the time of each event, and hints at its deliveries for then', async () => {
    fixture.enqueued.length = 0;
    fixture.deferred.length = 0;
    const inAnHour = new Date(Date.now() + 3_600_000);
    const inTwo = new Date(Date.now() + 7_200_000);
    await emitEvents([
      { type: 'bulk.now' },
      { type: 'bulk.later', deliverAt: inAnHour },
      { type: 'bulk.later', deliverAt: inTwo },
      { type: 'bulk.later', deliverAt: inAnHour },
    ]);
    expect(fixture.enqueued).toHaveLength(2);
    expect(fixture.deferred).toHaveLength(9); // what is not due yet is not held by a pause
    const { rows } = await fixture.db.pipeline.query<{ due_at: Date; count: number }>(
      `select d.due_at, count(*)::int from deliveries d join events e on e.id = d.event_id
       where e.type = 'bulk.later' group by 1 order by 1`,
    );
    expect(rows).toEqual([
      { due_at: inAnHour, count: 6 },
      { due_at: inTwo, count: 3 },
    ]);
  });

  test('of several with one idempotency key the first is stored, whatever stands between them', async () => {
    const { results } = await emitEvents([
      { type: 'bulk.checked', data: { n: 'refused' }, idempotencyKey: 'twice' },
      { type: 'bulk.keyed', data: 1, idempotencyKey: 'once' },
      { type: 'bulk.keyed', data: 2, idempotencyKey: 'once' },
      { type: 'bulk.keyed', data: 1, idempotencyKey: 'once' },
      { type: 'bulk.checked', data: { n: 5 }, idempotencyKey: 'twice' },
    ]);
    expect(
      results.map(
        ({ duplicate, userErrors }: Answer['data']) => userErrors[0]?.code ?? (duplicate ? 'again' : 'stored'),
      ),
    ).toEqual(['DATA_DOES_NOT_MATCH', 'stored', 'IDEMPOTENCY_CONFLICT', 'again', 'stored']);
    expect(results[3].event.id).toBe(results[1].event.id);
    expect(results[2].userErrors[0].field).toEqual(['input', 'events', '2', 'idempotencyKey']);
  });

  test('said again gives every first result again, and stores nothing', async () => {
    const events = Array.from({ length: 300 }, (_, n) => ({
      type: 'bulk.again',
      data: { n },
      idempotencyKey: `again ${n}`,
    }));
    const first = await emitEvents(events);
    const before = await fixture.db.prisma.event.count();
    const again = await emitEvents(events);
    for (const result of first.results) result.duplicate = true;
    expect(again.results).toEqual(first.results);
    expect(await fixture.db.prisma.event.count()).toBe(before);
  });
});

describe('an idempotency key', () => {
  const document = `mutation ($input: EmitEventInput!) {
    emitEvent(input: $input) { event { id occurredAt } duplicate userErrors { code } }
  }`;

  test('covers type and data, not when it happened or is delivered: the first of these stand', async () => {
    const input = {
      type: 'bulk.when',
      data: { b: 1, a: [2] },
      idempotencyKey: 'when',
      occurredAt: '2026-01-01T00:00:00Z',
    };
    const emit = async (changes: object): Promise<Answer['data']> =>
      (await fixture.run(document, { input: { ...input, ...changes } })).data.emitEvent;
    const first = await emit({});
    for (const changes of [
      { occurredAt: '2026-02-02T00:00:00Z' },
      { deliverAt: new Date(Date.now() + 60_000).toISOString() },
      { data: { a: [2], b: 1 } },
    ]) {
      expect(await emit(changes)).toEqual({ event: first.event, duplicate: true, userErrors: [] });
    }
    for (const changes of [{ type: 'bulk.other' }, { data: { b: 1, a: [3] } }, { data: null }]) {
      expect((await emit(changes)).userErrors).toEqual([{ code: 'IDEMPOTENCY_CONFLICT' }]);
    }
  });

  test('used by a hundred calls at once with two bodies stores one event and tells each what it is', async () => {
    const answers = await Promise.all(
      Array.from(
        { length: 100 },
        async (_, index) =>
          (await fixture.run(document, { input: { type: 'bulk.raced', data: index % 2, idempotencyKey: 'raced' } }))
            .data.emitEvent,
      ),
    );
    const kinds = answers.map(({ duplicate, userErrors }) => userErrors[0]?.code ?? (duplicate ? 'again' : 'stored'));
    expect(kinds.filter((kind) => kind === 'stored')).toHaveLength(1);
    expect(kinds.filter((kind) => kind === 'again')).toHaveLength(49);
    expect(kinds.filter((kind) => kind === 'IDEMPOTENCY_CONFLICT')).toHaveLength(50);
    expect(await fixture.db.prisma.event.count({ where: { type: 'bulk.raced' } })).toBe(1);
  });
});
