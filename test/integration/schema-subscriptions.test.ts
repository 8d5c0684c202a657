import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { SchemaContext } from '../../schema/context.ts';
import type { FeedChange, FeedEntry } from '../../src/feed/feed.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { type DeliveryId, idFromUuid, uuidOf, type WebhookId } from '../../src/domain/ids.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { type Answer, openSchemaFixture, type SchemaFixture, type Watched } from '../support/schema-fixture.ts';
import { addDelivery, addWebhook } from '../support/store-fixture.ts';

let fixture: SchemaFixture;
let webhookId: WebhookId;
let deliveryId: DeliveryId;
beforeAll(async () => {
  fixture = await openSchemaFixture();
  webhookId = await addWebhook(fixture);
});
afterAll(async () => await fixture[Symbol.asyncDispose]());
beforeEach(async () => {
  deliveryId = await addDelivery(fixture, webhookId, { status: 'RETRYING', attemptCount: 1 });
});

async function started(
  document: string,
  variables: object = {},
  context?: SchemaContext,
): Promise<Extract<Watched, { kind: 'started' }>> {
  const watched = await fixture.watch(document, variables, context);
  if (watched.kind === 'refused') throw new Error(JSON.stringify(watched.answer.errors));
  return watched;
}

async function entryOf(change: FeedChange, id: DeliveryId, eventType = 'config.deployed'): Promise<FeedEntry> {
  const row = await fixture.db.prisma.delivery.findUniqueOrThrow({ where: { id: uuidOf(id) } });
  return {
    change,
    at: new Date().toISOString(),
    webhookId: idFromUuid('webhook', row.webhookId),
    eventType,
    attempt: null,
    delivery: {
      id,
      eventId: idFromUuid('event', row.eventId),
      webhookId: idFromUuid('webhook', row.webhookId),
      status: row.status,
      attemptCount: row.attemptCount,
      maxAttempts: row.maxAttempts,
      roundStart: row.roundStart,
      trigger: row.trigger,
      dueAt: '2030-01-01T00:00:00.000Z',
      failureReason: null,
      createdAt: row.createdAt.toISOString(),
      finishedAt: null,
    },
  };
}

async function publish(...entries: FeedEntry[]): Promise<void> {
  await fixture.feed.publish(fixture.projectId, entries);
}

describe('deliveryFeed', () => {
  test('shows each change with its delivery as it was then, without asking the database for it', async () => {
    const feed = await started(`subscription { deliveryFeed {
      cursor at change delivery { id status attemptCount maxAttempts nextAttemptAt failureReason createdAt finishedAt } attempt { number }
    } }`);
    const entry = await entryOf('RETRY_SCHEDULED', deliveryId);
    await fixture.db.prisma.delivery.update({ where: { id: uuidOf(deliveryId) }, data: { status: 'DELIVERED' } });
    fixture.statements.length = 0;
    await publish(entry);
    const item = await feed.next();
    expect(item?.errors).toEqual([]);
    expect(item?.data.deliveryFeed).toMatchObject({
      at: entry.at,
      change: 'RETRY_SCHEDULED',
      delivery: { id: deliveryId, status: 'RETRYING', attemptCount: 1, nextAttemptAt: '2030-01-01T00:00:00.000Z' },
      attempt: null,
    });
    expect(item?.data.deliveryFeed.cursor).not.toBe('');
    expect(fixture.statements).toEqual([]);
    await feed.stop();
  });

  test('loads what the feed does not carry: event, webhook, and the body of the answer', async () => {
    const attemptUuid = newUuid();
    const attempt = {
      number: 1,
      outcome: 'FAILED' as const,
      trigger: 'AUTOMATIC' as const,
      durationMs: 5,
      responseStatus: 500,
    };
    await fixture.db.prisma.attempt.create({
      data: {
        ...attempt,
        id: attemptUuid,
        deliveryId: uuidOf(deliveryId),
        startedAt: new Date(),
        responseHeaders: [{ name: 'server', value: 'test' }],
        responseBody: 'sorry',
      },
    });
    const feed = await started(`subscription { deliveryFeed {
      webhook { id name } delivery { event { type body } webhook { id } lastAttempt { number } attempts { nodes { id } } }
      attempt { id responseBody responseHeaders { value } delivery { id } timings { connectMs } }
    } }`);
    await publish({
      ...(await entryOf('ATTEMPTED', deliveryId)),
      attempt: {
        ...attempt,
        id: idFromUuid('attempt', attemptUuid),
        startedAt: new Date().toISOString(),
        dnsMs: null,
        connectMs: 3,
        tlsMs: null,
        firstByteMs: null,
        errorCode: null,
        errorMessage: null,
      },
    });
    const item = await feed.next();
    expect(item?.errors).toEqual([]);
    expect(item?.data.deliveryFeed).toEqual({
      webhook: { id: webhookId, name: 'Deploys' },
      delivery: {
        event: { type: 'config.deployed', body: '{}' },
        webhook: { id: webhookId },
        lastAttempt: { number: 1 },
        attempts: { nodes: [{ id: idFromUuid('attempt', attemptUuid) }] },
      },
      attempt: {
        id: idFromUuid('attempt', attemptUuid),
        responseBody: 'sorry',
        responseHeaders: [{ value: 'test' }],
        delivery: { id: deliveryId },
        timings: { connectMs: 3 },
      },
    });
    await feed.stop();
  });

  test('shows the webhook as it is now with every item, however long the subscription lives', async () => {
    const feed = await started('subscription { deliveryFeed { webhook { name } delivery { webhook { name } } } }');
    for (const name of ['First', 'Second']) {
      await fixture.db.prisma.webhook.update({ where: { id: uuidOf(webhookId) }, data: { name } });
      await publish(await entryOf('ATTEMPTED', deliveryId));
      const item = await feed.next();
      expect(item?.data.deliveryFeed).toEqual({ webhook: { name }, delivery: { webhook: { name } } });
    }
    await feed.stop();
  });

  test('goes on right behind a cursor', async () => {
    const document = 'subscription ($after: String) { deliveryFeed(after: $after) { cursor change } }';
    const first = await started(document);
    await publish(await entryOf('CREATED', deliveryId), await entryOf('ATTEMPTED', deliveryId));
    const seen = await first.next();
    await first.stop();
    const resumed = await started(document, { after: seen?.data.deliveryFeed.cursor });
    await publish(await entryOf('DELIVERED', deliveryId));
    expect((await resumed.next())?.data.deliveryFeed.change).toBe('ATTEMPTED');
    expect((await resumed.next())?.data.deliveryFeed.change).toBe('DELIVERED');
    await resumed.stop();
  });

  test('is narrowed by webhook, status, event type, change and failure', async () => {
    const other = await addWebhook(fixture, { name: 'Other' });
    const otherDelivery = await addDelivery(fixture, other, { status: 'DELIVERED' });
    const document =
      'subscription ($filter: DeliveryFeedFilter) { deliveryFeed(filter: $filter) { change delivery { id } } }';
    const statusChanged: FeedEntry = {
      change: 'WEBHOOK_STATUS_CHANGED',
      at: new Date().toISOString(),
      webhookId: other,
      eventType: null,
      delivery: null,
      attempt: null,
    };
    const failedAttempt: FeedEntry = {
      ...(await entryOf('RETRY_SCHEDULED', deliveryId, 'other.type')),
      attempt: {
        id: idFromUuid('attempt', newUuid()),
        number: 1,
        outcome: 'FAILED',
        trigger: 'AUTOMATIC',
        startedAt: new Date().toISOString(),
        durationMs: 5,
        dnsMs: null,
        connectMs: null,
        tlsMs: null,
        firstByteMs: null,
        responseStatus: 500,
        errorCode: null,
        errorMessage: null,
      },
    };
    const entries = [
      await entryOf('ATTEMPTED', deliveryId, 'invoice.paid'),
      statusChanged,
      await entryOf('DELIVERED', otherDelivery, 'config.deployed'),
      await entryOf('CANCELLED', deliveryId, 'end.of_test'),
      failedAttempt,
      await entryOf('FAILED', deliveryId, 'end.of_test'),
    ];
    const expectations: [object, string[]][] = [
      [{ webhookIds: [other] }, ['WEBHOOK_STATUS_CHANGED', 'DELIVERED']],
      [{ statuses: ['DELIVERED'] }, ['DELIVERED']],
      [{ eventTypes: ['invoice.*', 'end.of_test'] }, ['ATTEMPTED', 'CANCELLED', 'FAILED']],
      [{ changes: ['WEBHOOK_STATUS_CHANGED', 'CANCELLED'] }, ['WEBHOOK_STATUS_CHANGED', 'CANCELLED']],
      [{ webhookIds: [other], changes: null }, ['WEBHOOK_STATUS_CHANGED', 'DELIVERED']],
      [{ onlyFailures: true }, ['RETRY_SCHEDULED', 'FAILED']],
      [{ onlyFailures: false, changes: ['CANCELLED', 'FAILED'] }, ['CANCELLED', 'FAILED']],
    ];
    const feeds = await Promise.all(expectations.map(async ([filter]) => await started(document, { filter })));
    await publish(...entries);
    for (const [index, [, expected]] of expectations.entries()) {
      for (const change of expected) {
        expect((await feeds[index]?.next())?.data.deliveryFeed.change).toBe(change);
      }
      await feeds[index]?.stop();
    }
  });

  test('ends as soon as the client stops, though it waits for an item', async () => {
    const feed = await started('subscription { deliveryFeed { cursor } }');
    const waiting = feed.next();
    await feed.stop();
    expect(await waiting).toBeNull();
  });

  test.each([['nonsense'], ['']])('refuses the cursor %j as BAD_USER_INPUT', async (after) => {
    const watched = await fixture.watch('subscription ($after: String) { deliveryFeed(after: $after) { cursor } }', {
      after,
    });
    expect(watched).toMatchObject({ kind: 'refused', answer: { errors: [{ code: 'BAD_USER_INPUT' }] } });
  });

  test('refuses a cursor whose place is gone as CURSOR_EXPIRED', async () => {
    await using other = createInProcessFeed();
    const context = { ...fixture.contextOf(fixture.projectId), feed: other };
    const document = 'subscription ($after: String) { deliveryFeed(after: $after) { cursor } }';
    const feed = await started(document);
    await publish(await entryOf('CREATED', deliveryId));
    const seen = await feed.next();
    await feed.stop();
    const watched = await fixture.watch(document, { after: seen?.data.deliveryFeed.cursor }, context);
    expect(watched).toMatchObject({ kind: 'refused', answer: { errors: [{ code: 'CURSOR_EXPIRED' }] } });
  });

  test('says CURSOR_EXPIRED as its last item when it falls behind the log, and ends', async () => {
    await using small = createInProcessFeed({ logLength: 2 });
    const context = { ...fixture.contextOf(fixture.projectId), feed: small };
    const feed = await started('subscription { deliveryFeed { change } }', {}, context);
    const entry = await entryOf('CREATED', deliveryId);
    await small.publish(fixture.projectId, [entry, entry, entry, entry]);
    const answers: Answer[] = [];
    for (let answer = await feed.next(); answer !== null; answer = await feed.next()) answers.push(answer);
    expect(answers.at(-1)).toMatchObject({ data: null, errors: [{ code: 'CURSOR_EXPIRED' }] });
  });

  test('passes on any other failure of the feed as it is, so that the gateway can mask it', async () => {
    const failing = {
      ...fixture.feed,
      subscribe: async () => await Promise.reject(new Error('no feed')),
    };
    const context = { ...fixture.contextOf(fixture.projectId), feed: failing };
    const watched = await fixture.watch('subscription { deliveryFeed { cursor } }', {}, context);
    expect(watched).toMatchObject({ kind: 'refused', answer: { errors: [{ message: 'no feed' }] } });
  });
});

describe('deliveryUpdated', () => {
  const document =
    'subscription ($id: ID!) { deliveryUpdated(id: $id) { id status event { type } lastAttempt { id } } }';

  test('shows the delivery as it is, then after each of its changes, and no other', async () => {
    const other = await addDelivery(fixture, webhookId);
    const updates = await started(document, { id: deliveryId });
    const now = await updates.next();
    expect(now).toMatchObject({ errors: [], data: { deliveryUpdated: { id: deliveryId, status: 'RETRYING' } } });
    await publish(await entryOf('CREATED', other));
    await fixture.db.prisma.delivery.update({ where: { id: uuidOf(deliveryId) }, data: { status: 'DELIVERED' } });
    await publish(await entryOf('DELIVERED', deliveryId));
    const then = await updates.next();
    expect(then).toMatchObject({
      errors: [],
      data: { deliveryUpdated: { id: deliveryId, status: 'DELIVERED', event: { type: 'config.deployed' } } },
    });
    const waiting = updates.next();
    await updates.stop();
    expect(await waiting).toBeNull();
  });

  test.each([['dlv_01h455vb4pex5vsknk084sn02q'], ['nonsense']])(
    'refuses the unknown id %j as NOT_FOUND',
    async (id) => {
      const watched = await fixture.watch(document, { id });
      expect(watched).toMatchObject({ kind: 'refused', answer: { errors: [{ code: 'NOT_FOUND' }] } });
    },
  );
});

describe('deliveryStatsTicked', () => {
  test('tells what happened in each window to the webhooks asked for, without asking the database', async () => {
    const other = await addWebhook(fixture, { name: 'Ticked' });
    const otherDelivery = await addDelivery(fixture, other, { status: 'DELIVERED' });
    const entries = [
      await entryOf('CREATED', otherDelivery),
      await entryOf('DELIVERED', otherDelivery),
      await entryOf('FAILED', deliveryId),
    ];
    const ticks = await started(
      `subscription ($ids: [ID!]) { deliveryStatsTicked(webhookIds: $ids, everySeconds: 1) {
        at windowSeconds complete changes { created delivered retryScheduled failed skipped cancelled resent }
        attempts { total succeeded failed } latency { p50Ms p95Ms p99Ms }
      } }`,
      { ids: [other] },
    );
    fixture.statements.length = 0;
    await publish(...entries);
    const item = await ticks.next();
    expect(item?.errors).toEqual([]);
    expect(item?.data.deliveryStatsTicked).toMatchObject({
      windowSeconds: 1,
      complete: true,
      changes: { created: 1, delivered: 1, retryScheduled: 0, failed: 0, skipped: 0, cancelled: 0, resent: 0 },
      attempts: { total: 0, succeeded: 0, failed: 0 },
      latency: null,
    });
    expect(fixture.statements).toEqual([]);
    const waiting = ticks.next();
    await ticks.stop();
    expect(await waiting).toBeNull();
  });

  test.each([[0], [61], [-5]])('refuses windows of %i seconds as BAD_USER_INPUT', async (everySeconds) => {
    const document = 'subscription ($every: Int!) { deliveryStatsTicked(everySeconds: $every) { at } }';
    const watched = await fixture.watch(document, { every: everySeconds });
    const message = `everySeconds must be from 1 to 60, not ${everySeconds}.`;
    expect(watched).toMatchObject({ kind: 'refused', answer: { errors: [{ code: 'BAD_USER_INPUT', message }] } });
  });
});
