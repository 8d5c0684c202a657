import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createWebhook } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { deploy, deployments } from '../support/e2e-stack.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import {
  DeleteEventTypeDocument,
  EmitEventDocument,
  EmitEventsDocument,
  EventTypesDocument,
  UpsertEventTypeDocument,
} from '../generated/graphql.ts';

describe.each(deployments)('events of a described type (%s)', (deployment) => {
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

  test('reach the receiver when their data matches, and nobody when it does not', async () => {
    await using receiver = await startReceiver();
    const { eventType: name } = await createWebhook(client, 'Described', { url: receiver.url });
    const schema = { type: 'object', required: ['version'], properties: { version: { type: 'integer' } } };
    const { upsertEventType } = await client.run(UpsertEventTypeDocument, { input: { name, schema } });
    expect(upsertEventType).toMatchObject({ created: true, userErrors: [], eventType: { name, schema } });
    const { eventTypes } = await client.run(EventTypesDocument, {});
    expect(eventTypes.nodes).toContainEqual(upsertEventType.eventType);

    const refused = await client.run(EmitEventDocument, { input: { type: name, data: { version: '1' } } });
    expect(refused.emitEvent.event).toBeNull();
    expect(refused.emitEvent.userErrors).toMatchObject([
      { field: ['input', 'data', 'version'], code: 'DATA_DOES_NOT_MATCH' },
    ]);
    const events = [1, 'two', 3].map((version) => ({ type: name, data: { version } }));
    const { emitEvents } = await client.run(EmitEventsDocument, { events });
    expect(emitEvents.results.map(({ userErrors }) => userErrors[0]?.field ?? null)).toEqual([
      null,
      ['input', 'events', '1', 'data', 'version'],
      null,
    ]);
    const requests = await receiver.waitFor(2);
    const bodies = emitEvents.results.flatMap(({ event }) => (event ? [event.body] : []));
    expect(requests.map(({ body }) => body).toSorted()).toEqual(bodies.toSorted());

    await client.run(DeleteEventTypeDocument, { id: upsertEventType.eventType?.id ?? '' });
    const taken = await client.run(EmitEventDocument, { input: { type: name, data: 'anything' } });
    expect(taken.emitEvent.userErrors).toEqual([]);
    await receiver.waitFor(3);
    expect(receiver.requests).toHaveLength(3);
  });

  test('emitted in bulk reach the receiver once each, also when the call is made twice', async () => {
    await using receiver = await startReceiver();
    const { eventType: type } = await createWebhook(client, 'Bulk', { url: receiver.url });
    const events = Array.from({ length: 200 }, (_, n) => ({ type, data: { n }, idempotencyKey: `bulk ${n}` }));
    const first = await client.run(EmitEventsDocument, { events });
    const again = await client.run(EmitEventsDocument, { events });
    expect(again.emitEvents.results).toEqual(
      first.emitEvents.results.map((result) => ({ ...result, duplicate: true })),
    );
    const requests = await receiver.waitFor(200);
    const ids = first.emitEvents.results.map(({ event }) => event?.id);
    expect(new Set(requests.map(({ headers }) => headers['webhook-id']))).toEqual(new Set(ids));
    expect(receiver.requests).toHaveLength(200);
  });
});
