import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Webhook as Verifier } from 'standardwebhooks';
import { createWebhook, emit, emitOne, untilStatus, watchFeed } from '../support/e2e-calls.ts';
import type { FeedItem } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { deploy, deployments } from '../support/e2e-stack.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import {
  CreateWebhookDocument,
  DeliveryUpdatedDocument,
  EmitEventDocument,
  PauseWebhookDocument,
  ResumeWebhookDocument,
  WebhookDocument,
} from '../generated/graphql.ts';

const isDelivered = ({ change }: FeedItem): boolean => change === 'DELIVERED';

describe.each(deployments)('an event on its way (%s)', (deployment) => {
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

  test.concurrent('reaches the receiver as one signed request whose signature the standardwebhooks package verifies', async () => {
    await using receiver = await startReceiver();
    const { secret, eventType } = await createWebhook(client, 'Signed', {
      url: `${receiver.url}/hooks?from=posthorn`,
      headers: [{ name: 'x-team', value: 'platform' }],
    });
    const data = { zeta: 1, alpha: [true, null, 'ü€😀'], nested: { amount: 1.5 } };
    const { eventId, body, deliveryIds } = await emit(client, eventType, data);
    const [request] = await receiver.waitFor(1);
    expect(request).toMatchObject({ method: 'POST', path: '/hooks?from=posthorn', body });
    expect(request?.headers).toMatchObject({
      'content-type': 'application/json',
      'user-agent': expect.stringMatching(/^Posthorn\/\d+\.\d+\.\d+$/),
      'webhook-id': eventId,
      'webhook-timestamp': expect.stringMatching(/^\d{10}$/),
      'webhook-signature': expect.stringMatching(/^v1,[A-Za-z0-9+/]{43}=$/),
      'x-posthorn-event': eventType,
      'x-posthorn-delivery': deliveryIds[0],
      'x-posthorn-attempt': '1',
      'x-team': 'platform',
    });
    const verified = new Verifier(secret).verify(request?.body ?? '', request?.headers ?? {});
    expect(verified).toEqual({
      id: eventId,
      type: eventType,
      timestamp: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      projectId: posthorn.projectId,
      data,
    });
    expect(request?.body).toBe(JSON.stringify(verified)); // compact, and in the order of the contract
    await untilStatus(client, deliveryIds[0] ?? '', 'DELIVERED');
    expect(receiver.requests).toHaveLength(1);
  });

  test.concurrent('needs a secret that is shown when the webhook is made, and never again', async () => {
    const { webhook, secret } = await createWebhook(client, 'Secret', { url: 'http://127.0.0.1:9/' });
    expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const { data } = await client.ask(WebhookDocument, { id: webhook.id });
    expect(data?.webhook?.secrets).toEqual([
      { id: expect.stringMatching(/^sec_/), hint: expect.any(String), expiresAt: null },
    ]);
    expect(secret.endsWith(data?.webhook?.secrets[0]?.hint ?? ' ')).toBe(true);
    expect(JSON.stringify(data)).not.toContain(secret.slice('whsec_'.length, 24));
  });

  test.concurrent.each(['websocket', 'sse'] as const)(
    'is seen in the feed over %s: created, then delivered by its attempt',
    async (over) => {
      await using receiver = await startReceiver(() => ({ status: 202, body: 'taken' }));
      const { webhook, eventType } = await createWebhook(client, `Feed over ${over}`, { url: receiver.url });
      using feed = await watchFeed(client, [webhook.id], { over });
      const deliveryId = await emitOne(client, eventType);
      const items = await feed.until(isDelivered);
      expect(items).toMatchObject([
        {
          change: 'CREATED',
          delivery: { id: deliveryId, status: 'PENDING', attemptCount: 0 },
          attempt: null,
          webhook: { id: webhook.id },
        },
        {
          change: 'DELIVERED',
          delivery: { id: deliveryId, status: 'DELIVERED', attemptCount: 1, nextAttemptAt: null },
          attempt: {
            number: 1,
            outcome: 'SUCCEEDED',
            trigger: 'AUTOMATIC',
            responseStatus: 202,
            responseBody: 'taken',
          },
          webhook: { id: webhook.id },
        },
      ]);
      const stored = await untilStatus(client, deliveryId, 'DELIVERED');
      expect(stored.attempts.nodes).toEqual([items[1]?.attempt]);
    },
  );

  test.concurrent('is not missed by a subscriber who comes back with a cursor: exactly what came meanwhile, then live', async () => {
    await using receiver = await startReceiver();
    const { webhook, eventType } = await createWebhook(client, 'Resumed', { url: receiver.url });
    using witness = await watchFeed(client, [webhook.id]);
    let cursor: string;
    {
      using first = await watchFeed(client, [webhook.id]);
      await emit(client, eventType, { number: 1 });
      cursor = (await first.until(isDelivered)).at(-1)?.cursor ?? '';
    }
    const witnessed = await witness.until(isDelivered);
    expect(witnessed.at(-1)?.cursor).toBe(cursor);
    const missed: FeedItem[] = [];
    for (const number of [2, 3, 4]) {
      await emit(client, eventType, { number });
      missed.push(...(await witness.until(isDelivered)));
    }
    using resumed = await watchFeed(client, [webhook.id], { after: cursor });
    const shown: FeedItem[] = [];
    while (shown.length < missed.length) shown.push(await resumed.next());
    expect(shown).toEqual(missed);
    expect(shown.map(({ change }) => change)).toEqual([
      'CREATED',
      'DELIVERED',
      'CREATED',
      'DELIVERED',
      'CREATED',
      'DELIVERED',
    ]);
    await emit(client, eventType, { number: 5 });
    const live = await witness.until(isDelivered);
    expect(await resumed.until(isDelivered)).toEqual(live);
  });

  test.concurrent('can be followed by its delivery alone: as it is, then each change', async () => {
    let answers = 0;
    await using receiver = await startReceiver(() => ({ status: (answers += 1) === 1 ? 500 : 200 }));
    const { webhook, eventType } = await createWebhook(client, 'Followed', { url: receiver.url });
    await client.run(PauseWebhookDocument, { id: webhook.id });
    const deliveryId = await emitOne(client, eventType);
    using watch = client.watch(DeliveryUpdatedDocument, { id: deliveryId });
    expect(await watch.next()).toMatchObject({ deliveryUpdated: { status: 'PENDING', attemptCount: 0 } });
    await client.run(ResumeWebhookDocument, { id: webhook.id });
    const changes = await watch.until(({ deliveryUpdated }) => deliveryUpdated.status === 'DELIVERED');
    expect(changes.map(({ deliveryUpdated: { status, attemptCount } }) => [status, attemptCount])).toEqual([
      ['RETRYING', 1],
      ['DELIVERED', 2],
    ]);
  });

  test.concurrent('goes to every webhook that wants its type, once each, and to no other', async () => {
    await using receiver = await startReceiver();
    const url = (path: string): string => `${receiver.url}/${path}`;
    const make = async (path: string, eventTypes: string[]) =>
      await client.run(CreateWebhookDocument, { input: { name: path, url: url(path), eventTypes } });
    await make('exact', ['fanout.sent']);
    await make('prefix', ['fanout.*']);
    await make('both', ['fanout.sent', 'fanout.*']);
    await make('other', ['fanout.sent.later', 'fan.*']);
    const { deliveryIds } = await emit(client, 'fanout.sent');
    expect(deliveryIds).toHaveLength(3);
    for (const id of deliveryIds) await untilStatus(client, id, 'DELIVERED');
    expect(receiver.requests.map(({ path }) => path).toSorted()).toEqual(['/both', '/exact', '/prefix']);
  });

  test.concurrent('is stored once for its idempotency key', async () => {
    await using receiver = await startReceiver();
    const { eventType } = await createWebhook(client, 'Idempotent', { url: receiver.url });
    const input = { type: eventType, data: { once: true }, idempotencyKey: 'only-once' };
    const { emitEvent: first } = await client.run(EmitEventDocument, { input });
    const { emitEvent: second } = await client.run(EmitEventDocument, { input });
    expect([first.duplicate, second.duplicate]).toEqual([false, true]);
    expect(second.event?.id).toBe(first.event?.id);
    await untilStatus(client, first.event?.deliveries.nodes[0]?.id ?? '', 'DELIVERED');
    expect(receiver.requests).toHaveLength(1);
  });
});
