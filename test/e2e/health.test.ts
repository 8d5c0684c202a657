import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CreateWebhookDocument, ResumeWebhookDocument, WebhookHealthDocument } from '../generated/graphql.ts';
import { createWebhook, emitOne, untilStatus, watchFeed } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { deploy } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import type { WebhookStatus } from '../generated/graphql.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import type { Receiver } from '../support/receiver.ts';

interface OwnEvent {
  type: string;
  data: { webhookId: string };
}

/** A circuit waits at least that long before its first probe. */
const probeAfterMs = 4_000;

/** What a webhook that wants Posthorn's own events got about another, in no order. */
async function untilTold(watcher: Receiver, webhookId: string, count: number): Promise<OwnEvent[]> {
  return await untilFound(`${count} events about ${webhookId}`, async () => {
    const events = watcher.requests.map(({ body }) => JSON.parse(body) as OwnEvent);
    const about = events.filter(({ data }) => data.webhookId === webhookId);
    return about.length >= count ? about.toSorted((a, b) => a.type.localeCompare(b.type)) : null;
  });
}

describe('the health of webhooks, with two workers', () => {
  let posthorn: RunningPosthorn;
  let client: ApiClient;

  beforeAll(async () => {
    posthorn = await deploy('gateway and workers on redis');
    client = createApiClient(posthorn, posthorn.apiKey);
  });

  afterAll(async () => {
    await client?.[Symbol.asyncDispose]();
    await posthorn?.[Symbol.asyncDispose]();
  });

  async function untilHealth(id: string, status: WebhookStatus) {
    return await untilFound(`${id} to be ${status}`, async () => {
      const { webhook } = await client.run(WebhookHealthDocument, { id });
      return webhook?.status === status ? webhook : null;
    });
  }

  /** A webhook that breaks every connection until it is told to be well, and has become FAILING by it. */
  async function startFailing(name: string) {
    await using starting = new AsyncDisposableStack();
    let isDead = true;
    const receiver = starting.use(await startReceiver(() => (isDead ? { reset: 'BEFORE_HEAD' } : {})));
    const { webhook, eventType } = await createWebhook(client, name, { url: receiver.url, retrySchedule: [1] });
    const feed = starting.use(await watchFeed(client, [webhook.id]));
    // Five in a row make it FAILING; of nine, one of two workers gets five.
    const ids = await emitMany(eventType, 9);
    await feed.until(({ change }) => change === 'WEBHOOK_STATUS_CHANGED');
    const health = await untilHealth(webhook.id, 'FAILING');
    const owned = starting.move();
    const dispose = async (): Promise<void> => await owned.disposeAsync();
    return { webhook, eventType, feed, health, ids, heal: () => void (isDead = false), [Symbol.asyncDispose]: dispose };
  }

  async function emitMany(eventType: string, count: number): Promise<string[]> {
    return await Promise.all(Array.from({ length: count }, async () => await emitOne(client, eventType)));
  }

  async function startWatcher(): Promise<Receiver> {
    const receiver = await startReceiver();
    const input = { name: 'Watcher', url: receiver.url, eventTypes: ['posthorn.*'] };
    const { createWebhook: made } = await client.run(CreateWebhookDocument, { input });
    expect(made.userErrors).toEqual([]);
    return receiver;
  }

  test.concurrent('a webhook that fails is FAILING, what comes then waits, and goes out by itself when it is well again; another is told of it', async () => {
    await using watcher = await startWatcher();
    await using failing = await startFailing('Ill');
    const { webhook, eventType, health, feed, ids, heal } = failing;
    expect(health.statusReason).toBe('CONNECT');
    expect(Math.abs(Date.now() - Date.parse(health.statusChangedAt))).toBeLessThan(30_000);
    const late = await emitMany(eventType, 3);
    for (const id of late) {
      expect(await untilStatus(client, id, 'PENDING')).toMatchObject({ attemptCount: 0, nextAttemptAt: null });
    }
    heal();
    for (const id of [...ids, ...late]) await untilStatus(client, id, 'DELIVERED');
    expect(await untilHealth(webhook.id, 'ACTIVE')).toMatchObject({ statusReason: null });
    await feed.until(
      ({ change, webhook: changed }) => change === 'WEBHOOK_STATUS_CHANGED' && changed.status === 'ACTIVE',
    );
    expect(await untilTold(watcher, webhook.id, 2)).toMatchObject([
      { type: 'posthorn.webhook.failing', data: { name: 'Ill', reason: 'CONNECT', changedAt: health.statusChangedAt } },
      { type: 'posthorn.webhook.recovered', data: { name: 'Ill', reason: null } },
    ]);
  });

  test.concurrent('a delivery whose attempts are used up is told of, and so is a webhook that is gone', async () => {
    await using watcher = await startWatcher();
    await using broken = await startReceiver(() => ({ status: 500 }));
    await using gone = await startReceiver(() => ({ status: 410 }));
    const first = await createWebhook(client, 'Used up', { url: broken.url, maxAttempts: 1 });
    const second = await createWebhook(client, 'Gone', { url: gone.url });
    const deliveryId = await emitOne(client, first.eventType);
    await emitOne(client, second.eventType);
    expect(await untilTold(watcher, first.webhook.id, 1)).toMatchObject([
      {
        type: 'posthorn.delivery.exhausted',
        data: { deliveryId, attemptCount: 1, lastAttempt: { responseStatus: 500 } },
      },
    ]);
    expect(await untilTold(watcher, second.webhook.id, 1)).toMatchObject([
      { type: 'posthorn.webhook.disabled', data: { name: 'Gone', reason: 'GONE' } },
    ]);
  });

  test.concurrent('resumeWebhook sends what waits at once, and does not wait for the probe', async () => {
    await using failing = await startFailing('Resumed by hand');
    const { webhook, eventType, health, heal } = failing;
    const deliveryId = await emitOne(client, eventType);
    heal();
    const { resumeWebhook } = await client.run(ResumeWebhookDocument, { id: webhook.id });
    expect(resumeWebhook).toEqual({ webhook: { status: 'ACTIVE' }, userErrors: [] });
    const delivered = await untilStatus(client, deliveryId, 'DELIVERED');
    expect(Date.parse(delivered.finishedAt ?? '') - Date.parse(health.statusChangedAt)).toBeLessThan(probeAfterMs);
  });

  test.concurrent('a rate limit is seen at the receiver', async () => {
    await using receiver = await startReceiver();
    const rateLimitPerSecond = 5;
    const { eventType } = await createWebhook(client, 'Rated', { url: receiver.url, rateLimitPerSecond });
    const ids = await emitMany(eventType, 12);
    for (const id of ids) await untilStatus(client, id, 'DELIVERED');
    const arrivals = receiver.requests.map(({ receivedAt }) => receivedAt.getTime());
    expect(arrivals).toHaveLength(12);
    // One may start at once; a request may take a little longer than another.
    const seconds = (Math.max(...arrivals) - Math.min(...arrivals) + 150) / 1_000;
    expect(12).toBeLessThanOrEqual(rateLimitPerSecond * seconds + 1);
  });
});
