import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Webhook as Verifier } from 'standardwebhooks';
import {
  CancelDeliveryDocument,
  CreateWebhookDocument,
  DeleteWebhookDocument,
  EmitEventDocument,
  PauseWebhookDocument,
  ResendDeliveryDocument,
  ResumeWebhookDocument,
  RotateWebhookSecretDocument,
  TestWebhookDocument,
  UpdateWebhookDocument,
  WebhookDocument,
} from '../generated/graphql.ts';
import { createWebhook, emit, emitOne, untilStatus, watchFeed } from '../support/e2e-calls.ts';
import type { DeliveryWithAttempts, FeedItem } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { deploy, deployments } from '../support/e2e-stack.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import type { ReceivedRequest } from '../support/receiver.ts';

/** The waits of the quick settings after the first five attempts, in ms; the last one repeats. */
const scheduleMs = [200, 300, 300, 300, 300];

const isEnd = ({ change }: FeedItem): boolean => change === 'DELIVERED' || change === 'FAILED';

function attemptsOf(delivery: DeliveryWithAttempts) {
  return delivery.attempts.nodes.toReversed();
}

/** Each attempt began no sooner after the one before than the schedule's wait less its jitter of 20 %. */
function expectScheduledWaits(delivery: DeliveryWithAttempts): void {
  const attempts = attemptsOf(delivery);
  const gaps = attempts.slice(1).map(({ startedAt }, index) => {
    const before = attempts[index];
    return Date.parse(startedAt) - Date.parse(before?.startedAt ?? '') - (before?.durationMs ?? 0);
  });
  for (const [index, gap] of gaps.entries()) expect(gap).toBeGreaterThanOrEqual(0.8 * (scheduleMs[index] ?? 0) - 2);
}

function verify(secret: string, request: ReceivedRequest | undefined): unknown {
  return new Verifier(secret).verify(request?.body ?? '', request?.headers ?? {});
}

describe.each(deployments)('deliveries and their webhooks (%s)', (deployment) => {
  let posthorn: RunningPosthorn;
  let client: ApiClient;

  beforeAll(async () => {
    posthorn = await deploy(deployment);
    client = createApiClient(posthorn, posthorn.apiKey);
  });

  afterAll(async () => {
    await client[Symbol.asyncDispose]();
    await posthorn[Symbol.asyncDispose]();
  });

  test.concurrent('a receiver that answers 500, 500, 200 gets three attempts with the waits of the schedule, all in the feed and all stored', async () => {
    await using receiver = await startReceiver((_request, index) => ({
      status: index < 2 ? 500 : 200,
      body: `${index}`,
    }));
    const { webhook, secret, eventType } = await createWebhook(client, 'Flaky', { url: receiver.url });
    using feed = await watchFeed(client, [webhook.id]);
    const deliveryId = await emitOne(client, eventType);
    const items = await feed.until(isEnd);
    expect(items.map(({ change, delivery, attempt }) => [change, delivery?.status, attempt?.number])).toEqual([
      ['CREATED', 'PENDING', undefined],
      ['RETRY_SCHEDULED', 'RETRYING', 1],
      ['RETRY_SCHEDULED', 'RETRYING', 2],
      ['DELIVERED', 'DELIVERED', 3],
    ]);
    const delivery = await untilStatus(client, deliveryId, 'DELIVERED');
    expect(delivery).toMatchObject({ attemptCount: 3, maxAttempts: 6, nextAttemptAt: null, failureReason: null });
    expect(attemptsOf(delivery)).toEqual(items.slice(1).map(({ attempt }) => attempt));
    expect(attemptsOf(delivery)).toMatchObject([
      { number: 1, outcome: 'FAILED', responseStatus: 500, responseBody: '0' },
      { number: 2, outcome: 'FAILED', responseStatus: 500, responseBody: '1' },
      { number: 3, outcome: 'SUCCEEDED', responseStatus: 200, responseBody: '2' },
    ]);
    expectScheduledWaits(delivery);
    const planned = items.slice(1, 3).map((item) => Date.parse(item.delivery?.nextAttemptAt ?? ''));
    for (const [index, at] of planned.entries()) {
      expect(Date.parse(attemptsOf(delivery)[index + 1]?.startedAt ?? '')).toBeGreaterThanOrEqual(at);
    }
    expect(receiver.requests.map(({ headers }) => headers['x-posthorn-attempt'])).toEqual(['1', '2', '3']);
    expect(new Set(receiver.requests.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
    expect(new Set(receiver.requests.map(({ body }) => body)).size).toBe(1);
    for (const request of receiver.requests) verify(secret, request);
  });

  test.concurrent('a receiver that always answers 500 ends the delivery as exhausted after six attempts; sent again, it arrives', async () => {
    let answer = 500;
    await using receiver = await startReceiver(() => ({ status: answer }));
    const { webhook, eventType } = await createWebhook(client, 'Broken', { url: receiver.url });
    using feed = await watchFeed(client, [webhook.id]);
    const deliveryId = await emitOne(client, eventType);
    const items = (await feed.until(isEnd)).filter(({ delivery }) => delivery !== null);
    expect(items.map(({ change }) => change)).toEqual(['CREATED', ...Array(5).fill('RETRY_SCHEDULED'), 'FAILED']);
    const failed = await untilStatus(client, deliveryId, 'FAILED');
    expect(failed).toMatchObject({ attemptCount: 6, failureReason: 'EXHAUSTED', finishedAt: expect.any(String) });
    expect(attemptsOf(failed).map(({ number }) => number)).toEqual([1, 2, 3, 4, 5, 6]);
    expectScheduledWaits(failed);
    expect(receiver.requests).toHaveLength(6);

    answer = 200;
    const { resendDelivery } = await client.run(ResendDeliveryDocument, { id: deliveryId });
    expect(resendDelivery).toMatchObject({ delivery: { id: deliveryId, failureReason: null }, userErrors: [] });
    const again = (await feed.until(isEnd)).filter(({ delivery }) => delivery !== null);
    expect(again.map(({ change }) => change)).toEqual(['RESENT', 'DELIVERED']);
    const delivered = await untilStatus(client, deliveryId, 'DELIVERED');
    expect(attemptsOf(delivered).at(-1)).toMatchObject({ number: 7, trigger: 'MANUAL', outcome: 'SUCCEEDED' });
    expect(receiver.requests).toHaveLength(7);
    expect(new Set(receiver.requests.map(({ headers }) => headers['webhook-id'])).size).toBe(1);
  });

  test.concurrent('a webhook can have a schedule and a number of attempts of its own', async () => {
    await using receiver = await startReceiver(() => ({ status: 500 }));
    const { eventType } = await createWebhook(client, 'Impatient', {
      url: receiver.url,
      maxAttempts: 2,
      retrySchedule: [1],
    });
    const failed = await untilStatus(client, await emitOne(client, eventType), 'FAILED');
    expect(failed).toMatchObject({ attemptCount: 2, maxAttempts: 2, failureReason: 'EXHAUSTED' });
    const [first, second] = attemptsOf(failed).map(({ startedAt }) => Date.parse(startedAt));
    expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(800);
  });

  test.concurrent('a receiver that cannot be reached leaves attempts that say why', async () => {
    const receiver = await startReceiver();
    await receiver[Symbol.asyncDispose]();
    const { eventType } = await createWebhook(client, 'Unreachable', { url: receiver.url, maxAttempts: 1 });
    const failed = await untilStatus(client, await emitOne(client, eventType), 'FAILED');
    expect(attemptsOf(failed)).toMatchObject([{ outcome: 'FAILED', errorCode: 'CONNECT', responseStatus: null }]);
  });

  test.concurrent('a 410 answer fails the delivery at once and disables the webhook; what comes then is recorded as skipped', async () => {
    await using receiver = await startReceiver(() => ({ status: 410 }));
    const { webhook, eventType } = await createWebhook(client, 'Gone', { url: receiver.url });
    using feed = await watchFeed(client, [webhook.id]);
    const deliveryId = await emitOne(client, eventType);
    const items = await feed.until(({ change }) => change === 'WEBHOOK_STATUS_CHANGED');
    const rest = items.some(isEnd) ? [] : await feed.until(isEnd);
    expect([...items, ...rest].map(({ change }) => change).toSorted()).toEqual([
      'CREATED',
      'FAILED',
      'WEBHOOK_STATUS_CHANGED',
    ]);
    const failed = await untilStatus(client, deliveryId, 'FAILED');
    expect(failed).toMatchObject({ attemptCount: 1, failureReason: 'GONE' });
    expect((await client.run(WebhookDocument, { id: webhook.id })).webhook).toMatchObject({
      status: 'DISABLED',
      statusReason: 'GONE',
    });
    await untilStatus(client, await emitOne(client, eventType), 'SKIPPED');
    expect((await feed.until(({ change }) => change === 'SKIPPED')).at(-1)?.delivery?.status).toBe('SKIPPED');
    expect(receiver.requests).toHaveLength(1);
  });

  test.concurrent('a paused webhook holds its deliveries, and they go out when it resumes', async () => {
    await using receiver = await startReceiver();
    const { webhook, eventType } = await createWebhook(client, 'Paused', { url: receiver.url });
    const { eventType: other } = await createWebhook(client, 'Beside the paused', { url: `${receiver.url}/beside` });
    const { pauseWebhook } = await client.run(PauseWebhookDocument, { id: webhook.id });
    expect(pauseWebhook.webhook?.status).toBe('PAUSED');
    const held = [await emitOne(client, eventType), await emitOne(client, eventType), await emitOne(client, eventType)];
    // Longer than the grace, so that sweep has seen them too: a delivery to another webhook that waits that long passes.
    await client.run(EmitEventDocument, {
      input: { type: other, deliverAt: new Date(Date.now() + 2_000).toISOString() },
    });
    await receiver.waitFor(1, 10_000);
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/beside']);
    for (const id of held) await untilStatus(client, id, 'PENDING');
    await client.run(ResumeWebhookDocument, { id: webhook.id });
    for (const id of held) await untilStatus(client, id, 'DELIVERED');
    expect(receiver.requests).toHaveLength(4);
  });

  test.concurrent('a delivery that is cancelled while its attempt is under way stays cancelled, and the attempt shows its answer', async () => {
    const answer = Promise.withResolvers<{ status: number }>();
    await using receiver = await startReceiver(async () => await answer.promise);
    const { webhook, eventType } = await createWebhook(client, 'Cancelled', { url: receiver.url });
    using feed = await watchFeed(client, [webhook.id]);
    const id = await emitOne(client, eventType);
    await receiver.waitFor(1);
    const { cancelDelivery } = await client.run(CancelDeliveryDocument, { id });
    expect(cancelDelivery).toMatchObject({ delivery: { status: 'CANCELLED', attemptCount: 1 }, userErrors: [] });
    answer.resolve({ status: 200 });
    const items = await feed.until(({ change }) => change === 'ATTEMPTED');
    expect(items.map(({ change }) => change)).toEqual(['CREATED', 'CANCELLED', 'ATTEMPTED']);
    expect(items.at(-1)).toMatchObject({ delivery: { status: 'CANCELLED' }, attempt: { outcome: 'SUCCEEDED' } });
    const cancelled = await untilStatus(client, id, 'CANCELLED');
    expect(cancelled).toMatchObject({ attemptCount: 1, failureReason: 'CANCELLED_BY_USER', nextAttemptAt: null });
    expect(cancelled.attempts.nodes).toMatchObject([{ number: 1, responseStatus: 200 }]);
    const again = await client.run(CancelDeliveryDocument, { id });
    expect(again.cancelDelivery).toMatchObject({ delivery: null, userErrors: [{ code: 'ALREADY_ENDED' }] });
  });

  test.concurrent('deleting a webhook cancels what waits for it; the history stays', async () => {
    await using receiver = await startReceiver(() => ({ status: 500 }));
    const { webhook, eventType } = await createWebhook(client, 'Deleted', { url: receiver.url, retrySchedule: [60] });
    const retrying = await untilStatus(client, await emitOne(client, eventType), 'RETRYING');
    const { deleteWebhook } = await client.run(DeleteWebhookDocument, { id: webhook.id });
    expect(deleteWebhook).toMatchObject({ webhook: { deletedAt: expect.any(String) }, userErrors: [] });
    const cancelled = await untilStatus(client, retrying.id, 'CANCELLED');
    expect(cancelled).toMatchObject({ attemptCount: 1, nextAttemptAt: null, finishedAt: expect.any(String) });
    expect(cancelled.attempts.nodes).toHaveLength(1);
    const { data, errors } = await client.ask(WebhookDocument, { id: webhook.id });
    expect([data?.webhook, errors.map(({ code }) => code)]).toEqual([null, ['NOT_FOUND']]);
    expect((await emit(client, eventType)).deliveryIds).toEqual([]);
  });

  test.concurrent('a rotated secret signs beside the old one during the overlap; without an overlap it signs alone', async () => {
    await using receiver = await startReceiver();
    const { webhook, secret, eventType } = await createWebhook(client, 'Rotated', { url: receiver.url });
    const rotate = async (overlapSeconds: number): Promise<string> => {
      const { rotateWebhookSecret } = await client.run(RotateWebhookSecretDocument, {
        input: { id: webhook.id, overlapSeconds },
      });
      return rotateWebhookSecret.secret ?? '';
    };
    const second = await rotate(3600);
    await emit(client, eventType);
    await receiver.waitFor(1);
    expect(receiver.requests[0]?.headers['webhook-signature']?.split(' ')).toHaveLength(2);
    for (const key of [secret, second]) verify(key, receiver.requests[0]);
    const third = await rotate(0);
    await emit(client, eventType);
    await receiver.waitFor(2);
    verify(third, receiver.requests[1]);
    for (const key of [secret, second])
      expect(() => verify(key, receiver.requests[1])).toThrow('No matching signature');
  });

  test.concurrent('testWebhook sends one event now and answers with the attempt', async () => {
    await using receiver = await startReceiver((_request, index) => ({
      status: index === 0 ? 201 : 500,
      body: 'seen',
    }));
    const { webhook, secret } = await createWebhook(client, 'Tested', { url: receiver.url });
    const { testWebhook: first } = await client.run(TestWebhookDocument, { id: webhook.id });
    expect(first).toMatchObject({
      delivery: { status: 'DELIVERED', attemptCount: 1 },
      attempt: { number: 1, trigger: 'TEST', outcome: 'SUCCEEDED', responseStatus: 201, responseBody: 'seen' },
      userErrors: [],
    });
    expect(verify(secret, receiver.requests[0])).toMatchObject({ type: 'posthorn.test' });
    const { testWebhook: second } = await client.run(TestWebhookDocument, { id: webhook.id });
    expect(second).toMatchObject({
      delivery: { status: 'FAILED', attemptCount: 1 },
      attempt: { trigger: 'TEST', outcome: 'FAILED', responseStatus: 500 },
      userErrors: [],
    });
  });

  test.concurrent('a new url is used from the next attempt on, also for what already waits', async () => {
    await using old = await startReceiver(() => ({ status: 500 }));
    await using next = await startReceiver();
    const { webhook, eventType } = await createWebhook(client, 'Moved', { url: old.url, retrySchedule: [1] });
    const deliveryId = await emitOne(client, eventType);
    await untilStatus(client, deliveryId, 'RETRYING');
    const { updateWebhook } = await client.run(UpdateWebhookDocument, {
      input: { id: webhook.id, url: `${next.url}/moved` },
    });
    expect(updateWebhook).toMatchObject({ webhook: { url: `${next.url}/moved` }, userErrors: [] });
    await untilStatus(client, deliveryId, 'DELIVERED');
    expect([old.requests.length, next.requests.map(({ path }) => path)]).toEqual([1, ['/moved']]);
  });

  test.concurrent('an address that is not public is refused at creation and named', async () => {
    const input = { name: 'Inside', url: 'http://169.254.169.254/latest' };
    const { createWebhook: refused } = await client.run(CreateWebhookDocument, { input });
    expect(refused).toMatchObject({
      webhook: null,
      userErrors: [{ field: ['input', 'url'], message: expect.stringContaining('169.254.169.254') }],
    });
  });
});
