import { afterAll, beforeAll, expect, test } from 'vitest';
import { uuidOf } from '../../src/domain/ids.ts';
import { disableWebhook } from '../../src/store/webhook-health.ts';
import { pauseWebhook } from '../../src/store/webhook-status.ts';
import { deleteWebhook } from '../../src/store/webhooks.ts';
import { openSchemaFixture, type SchemaFixture } from '../support/schema-fixture.ts';
import { addDeliveries, addDelivery, addWebhook } from '../support/store-fixture.ts';
import { testActor } from '../support/test-actor.ts';

let fixture: SchemaFixture;
beforeAll(async () => {
  fixture = await openSchemaFixture();
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());

const upcoming = 'upcomingAttempts { number earliestAt latestAt }';

interface Range {
  number: number;
  earliestAt: string;
  latestAt: string;
}

async function previewOf(id: string): Promise<Range[]> {
  const { data, errors } = await fixture.run(`query ($id: ID!) { delivery(id: $id) { ${upcoming} } }`, { id });
  expect(errors).toEqual([]);
  return data.delivery.upcomingAttempts;
}

/** Seconds of each range from the instant. */
function secondsFrom(instant: Date, ranges: readonly Range[]): [number, number, number][] {
  const after = (text: string): number => (Date.parse(text) - instant.getTime()) / 1000;
  return ranges.map(({ number, earliestAt, latestAt }) => [number, after(earliestAt), after(latestAt)]);
}

test('a webhook without settings of its own previews the deployment’s attempts', async () => {
  const id = await addWebhook(fixture);
  const { data, errors } = await fixture.run(
    `query ($id: ID!) { webhook(id: $id) { attemptPreview { number earliestAfterSeconds latestAfterSeconds } } }`,
    { id },
  );
  expect(errors).toEqual([]);
  expect(data.webhook.attemptPreview).toEqual([
    { number: 1, earliestAfterSeconds: 0, latestAfterSeconds: 0 },
    { number: 2, earliestAfterSeconds: 48, latestAfterSeconds: 72 },
    { number: 3, earliestAfterSeconds: 288, latestAfterSeconds: 432 },
    { number: 4, earliestAfterSeconds: 1008, latestAfterSeconds: 1512 },
    { number: 5, earliestAfterSeconds: 3888, latestAfterSeconds: 5832 },
    { number: 6, earliestAfterSeconds: 15_408, latestAfterSeconds: 23_112 },
  ]);
});

test('a webhook’s own attempts and waits count before the deployment’s', async () => {
  const id = await addWebhook(fixture, { maxAttempts: 3, retrySchedule: [1] });
  const { data } = await fixture.run(
    `query ($id: ID!) { webhook(id: $id) { attemptPreview { number earliestAfterSeconds latestAfterSeconds } } }`,
    { id },
  );
  expect(data.webhook.attemptPreview).toEqual([
    { number: 1, earliestAfterSeconds: 0, latestAfterSeconds: 0 },
    { number: 2, earliestAfterSeconds: 0.8, latestAfterSeconds: 1.2 },
    { number: 3, earliestAfterSeconds: 1.6, latestAfterSeconds: 2.4 },
  ]);
});

test('a delivery that is retried previews its next attempt exactly and the others as ranges', async () => {
  const webhookId = await addWebhook(fixture, { retrySchedule: [10, 100] });
  const dueAt = new Date(Date.now() + 3_600_000);
  const id = await addDelivery(fixture, webhookId, { status: 'RETRYING', attemptCount: 3, dueAt });
  expect(secondsFrom(dueAt, await previewOf(id))).toEqual([
    [4, 0, 0],
    [5, 80, 120],
    [6, 160, 240],
  ]);
});

test('a delivery has nothing before it when it has ended or its webhook takes nothing any more', async () => {
  const { db, projectId } = fixture;
  const webhookId = await addWebhook(fixture);
  const ended = await addDelivery(fixture, webhookId, { status: 'FAILED', attemptCount: 2, finishedAt: new Date() });
  const waiting = await addDelivery(fixture, webhookId);
  const tested = await addDelivery(fixture, webhookId);
  await db.prisma.delivery.update({ where: { id: uuidOf(tested) }, data: { trigger: 'TEST', maxAttempts: 1 } });
  expect(await previewOf(ended)).toEqual([]);
  await pauseWebhook(db, projectId, webhookId, testActor);
  expect(await previewOf(waiting)).toHaveLength(6);
  await disableWebhook(db, { maxAttempts: 3 }, { projectId, webhookId }, 'GONE');
  expect(await previewOf(waiting)).toEqual([]);
  expect(await previewOf(tested)).toMatchObject([{ number: 1 }]);
  await deleteWebhook(db, projectId, webhookId, testActor);
  expect(await previewOf(waiting)).toEqual([]);
  expect(await previewOf(tested)).toEqual([]);
});

test('a page of previews costs as many statements for 20 deliveries as for 2, beside the webhook that is asked for too', async () => {
  const webhookId = await addWebhook(fixture, { retrySchedule: [10] });
  await addDeliveries(fixture, webhookId, 20);
  const page = `query ($first: Int!, $webhookId: ID!) {
    deliveries(first: $first, filter: { webhookIds: [$webhookId] }) {
      nodes { ${upcoming} webhook { name attemptPreview { number } } }
    }
  }`;
  fixture.statements.length = 0;
  await fixture.run(page, { first: 2, webhookId });
  const fewStatements = fixture.statements.splice(0).length;
  const { data, errors } = await fixture.run(page, { first: 20, webhookId });
  expect(errors).toEqual([]);
  expect(data.deliveries.nodes).toHaveLength(20);
  for (const node of data.deliveries.nodes) {
    expect(node.upcomingAttempts).toHaveLength(6);
    expect(node.webhook).toMatchObject({ name: 'Deploys', attemptPreview: { length: 6 } });
  }
  // The webhook of the filter, the deliveries, their webhook.
  expect([fewStatements, fixture.statements.length]).toEqual([3, 3]);
});

test('a mutation’s delivery previews the round that it starts', async () => {
  const webhookId = await addWebhook(fixture, { maxAttempts: 2, retrySchedule: [60] });
  const id = await addDelivery(fixture, webhookId, { status: 'FAILED', attemptCount: 6, finishedAt: new Date() });
  const { data, errors } = await fixture.run(
    `mutation ($id: ID!) { resendDelivery(input: { id: $id }) { delivery { ${upcoming} } } }`,
    { id },
  );
  expect(errors).toEqual([]);
  const ranges: Range[] = data.resendDelivery.delivery.upcomingAttempts;
  expect(secondsFrom(new Date(ranges[0]?.earliestAt ?? ''), ranges)).toEqual([
    [7, 0, 0],
    [8, 48, 72],
  ]);
});
