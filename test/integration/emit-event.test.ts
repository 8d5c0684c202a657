import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { uuidOf } from '../../src/domain/ids.ts';
import { findTraceParent } from '../../src/domain/trace-parent.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { addWebhook, openStoreFixture } from '../support/store-fixture.ts';
import type { EmitEvent, EmitInput, EmitResult, StoredEvent } from '../../src/store/emit-event.ts';
import type { StoreFixture } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

function eventOf(result: EmitResult): StoredEvent {
  if (result.kind === 'refused') throw new Error('the data was refused');
  return result.event;
}

describe('emit', () => {
  let fixture: StoreFixture;
  let emitEvent: EmitEvent;

  beforeAll(async () => {
    fixture = await openStoreFixture();
    emitEvent = createEmitter(fixture.db, { maxAttempts: 6 });
  });
  afterAll(async () => await fixture?.[Symbol.asyncDispose]());

  function input(changes: Partial<EmitInput> = {}): EmitInput {
    return {
      projectId: fixture.projectId,
      type: 'config.deployed',
      data: { version: 1 },
      idempotencyKey: null,
      occurredAt: new Date('2026-01-02T03:04:05.678Z'),
      deliverAt: null,
      testWebhookId: null,
      ...changes,
    };
  }

  test('every webhook whose filter matches gets one delivery, and no other does', async () => {
    const all = await addWebhook(fixture, { eventTypes: ['*'] });
    const prefix = await addWebhook(fixture, { eventTypes: ['fanout.*'] });
    const exact = await addWebhook(fixture, { eventTypes: ['fanout.a', 'other'] });
    await addWebhook(fixture, { eventTypes: ['fanout.b', 'fanout.a.*'] });
    const result = await emitEvent(input({ type: 'fanout.a' }));
    if (result.kind !== 'stored') throw new Error(result.kind);
    expect(result.deliveries.map((delivery) => delivery.webhookId).toSorted()).toEqual([all, prefix, exact].toSorted());
    await Promise.all([all, prefix, exact].map((id) => deleteWebhook(fixture.db, fixture.projectId, id, testActor)));
  });

  test('where in a trace it was emitted is stored as it is, and what is no such place is refused', async () => {
    const place = findTraceParent('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01');
    const events = [eventOf(await emitEvent(input({ traceParent: place }))), eventOf(await emitEvent(input()))];
    const stored = await Promise.all(
      events.map(
        async ({ id }) => (await fixture.db.prisma.event.findUniqueOrThrow({ where: { id: uuidOf(id) } })).traceParent,
      ),
    );
    expect(stored).toEqual([place, null]);
    const update = fixture.db.pipeline.query("update events set trace_parent = '00-x' where trace_parent is null");
    await expect(update).rejects.toThrow('events_trace_parent_shape');
  });

  test('the body is stored byte for byte, with the parts of the event in their order', async () => {
    const data = { b: 1, a: ['\u0000', '\ud800', '"\\', 1e21], nested: { z: null } };
    const result = await emitEvent(input({ data }));
    const event = eventOf(result);
    expect(event.body).toBe(
      JSON.stringify({
        id: event.id,
        type: 'config.deployed',
        timestamp: '2026-01-02T03:04:05.678Z',
        projectId: fixture.projectId,
        data,
      }),
    );
    const { rows } = await fixture.db.pipeline.query<{ body: string }>(
      'select body::text as body from events order by id desc limit 1',
    );
    expect(rows[0]?.body).toBe(event.body);
  });

  test('an idempotency key gives the first event again, and a conflict when type or data differ', async () => {
    const first = await emitEvent(input({ idempotencyKey: 'order-1' }));
    const again = await emitEvent(input({ idempotencyKey: 'order-1' }));
    const other = await emitEvent(input({ idempotencyKey: 'order-1', data: { version: 2 } }));
    expect([first.kind, again.kind, other.kind]).toEqual(['stored', 'duplicate', 'conflict']);
    expect(eventOf(again).id).toBe(eventOf(first).id);
    const stranger = await emitEvent(input({ idempotencyKey: 'order-1', projectId: fixture.strangerId }));
    expect(stranger.kind).toBe('stored');
  });

  test('a hundred concurrent emits with one idempotency key store one event', async () => {
    const results = await Promise.all(
      Array.from({ length: 100 }, async () => await emitEvent(input({ idempotencyKey: 'order-2' }))),
    );
    expect(results.filter((result) => result.kind === 'stored')).toHaveLength(1);
    expect(new Set(results.map((result) => eventOf(result).id)).size).toBe(1);
  });

  test('an input that Postgres refuses fails alone among concurrent ones', async () => {
    const results = await Promise.allSettled([
      ...Array.from({ length: 20 }, async (_, index) => await emitEvent(input({ data: index }))),
      emitEvent(input({ idempotencyKey: 'nul \u0000 character' })),
    ]);
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(20);
    expect(results.at(-1)?.status).toBe('rejected');
  });

  test('a disabled webhook gets a SKIPPED delivery, which a recovery can find', async () => {
    const webhookId = await addWebhook(fixture, { eventTypes: ['skipped.*'] });
    await disableWebhook(fixture.db, { maxAttempts: 3 }, { projectId: fixture.projectId, webhookId }, 'GONE');
    const result = await emitEvent(input({ type: 'skipped.one' }));
    expect(result.kind === 'stored' && result.deliveries).toMatchObject([{ webhookId, status: 'SKIPPED' }]);
  });

  test('another project never gets a delivery', async () => {
    await addWebhook(fixture, { eventTypes: ['*'] });
    const result = await emitEvent(input({ projectId: fixture.strangerId }));
    expect(result).toMatchObject({ kind: 'stored', deliveries: [] });
  });
});
