import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FeedEntry, FeedSubscription } from '../../src/feed/feed.ts';
import { announceAsRead } from '../../schema/announce.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDelivery, addWebhook } from '../support/store-fixture.ts';

const cancel = `mutation ($id: ID!) { cancelDelivery(input: { id: $id }) {
  delivery { id status attemptCount nextAttemptAt failureReason finishedAt upcomingAttempts { number } }
  userErrors { field code message }
} }`;

let fixture: SchemaFixture;
let feed: FeedSubscription;
beforeAll(async () => {
  fixture = await openSchemaFixture();
  feed = await fixture.feed.subscribe(fixture.projectId);
});
afterAll(async () => {
  await feed?.return?.();
  await fixture?.[Symbol.asyncDispose]();
});

async function nextEntry(): Promise<FeedEntry> {
  const item = await feed.next();
  if (item.done === true) throw new Error('the feed ended');
  return item.value.entry;
}

test('a waiting delivery is cancelled, and the feed shows it', async () => {
  const columns = { status: 'RETRYING', attemptCount: 2, dueAt: new Date() } as const;
  const id = await addDelivery(fixture, await addWebhook(fixture), columns);
  const { data, errors } = await fixture.run(cancel, { id });
  expect(errors).toEqual([]);
  expect(data.cancelDelivery).toEqual({
    delivery: {
      id,
      status: 'CANCELLED',
      attemptCount: 2,
      nextAttemptAt: null,
      failureReason: 'CANCELLED_BY_USER',
      finishedAt: expect.any(String),
      upcomingAttempts: [],
    },
    userErrors: [],
  });
  expect(await nextEntry()).toMatchObject({
    change: 'CANCELLED',
    eventType: 'config.deployed',
    delivery: { id, status: 'CANCELLED', failureReason: 'CANCELLED_BY_USER', dueAt: null },
    attempt: null,
  });
  expect(fixture.enqueued).toEqual([]);
});

test('a delivery whose attempt is under way is cancelled too', async () => {
  const id = await addDelivery(fixture, await addWebhook(fixture), { status: 'DELIVERING', claimedAt: new Date() });
  const { data } = await fixture.run(cancel, { id });
  expect(data.cancelDelivery).toMatchObject({ delivery: { status: 'CANCELLED', attemptCount: 1 }, userErrors: [] });
  expect(await nextEntry()).toMatchObject({ change: 'CANCELLED', delivery: { id } });
});

test('a delivery that has ended is refused, and the feed shows nothing', async () => {
  const webhookId = await addWebhook(fixture);
  const id = await addDelivery(fixture, webhookId, { status: 'DELIVERED', finishedAt: new Date() });
  const { data, errors } = await fixture.run(cancel, { id });
  expect(errors).toEqual([]);
  expect(data.cancelDelivery).toEqual({
    delivery: null,
    userErrors: [
      {
        field: ['input', 'id'],
        code: 'ALREADY_ENDED',
        message: `Delivery "${id}" has ended already: it is DELIVERED.`,
      },
    ],
  });
  // What comes next in the feed is the next cancellation's.
  const waiting = await addDelivery(fixture, webhookId);
  await fixture.run(cancel, { id: waiting });
  expect(await nextEntry()).toMatchObject({ change: 'CANCELLED', delivery: { id: waiting } });
});

test('what is no delivery of the project is not found', async () => {
  const id = await addDelivery(fixture, await addWebhook(fixture));
  const stranger = fixture.contextOf(fixture.strangerId);
  const answers = [await fixture.run(cancel, { id }, stranger), await fixture.run(cancel, { id: 'nonsense' })];
  for (const { data } of answers) {
    expect(data.cancelDelivery).toMatchObject({ delivery: null, userErrors: [{ code: 'NOT_FOUND' }] });
  }
});

test('a change that cannot be read again for the feed fails nothing, and expires the cursors', async () => {
  const watching = await fixture.feed.subscribe(fixture.projectId);
  await announceAsRead(fixture.contextOf(fixture.projectId), async () => await Promise.reject(new Error('unread')));
  expect(fixture.warnings).toContain('changes could not be read again for the feed');
  await expect(watching.next()).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
});
