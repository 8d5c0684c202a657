import { z } from 'zod';
import { demoRetrySchedule, demoWebhooks } from './demo-script.ts';
import type { DemoClient } from './demo-client.ts';
import type { DemoReceiver } from './demo-receiver.ts';
import type { DemoEvent, DemoWebhook } from './demo-script.ts';

/** The demo's webhooks while they exist; disposing deletes them. */
export interface RegisteredWebhooks extends AsyncDisposable {
  /** In the script's order. */
  ids: readonly string[];
}

/**
 * Creates the script's webhooks and tells the receiver their secrets. Those created are deleted when one is refused.
 * A webhook that cannot be deleted at the end, its server being gone perhaps, is only printed.
 */
export async function registerWebhooks(
  client: DemoClient,
  receiver: DemoReceiver,
  print: (text: string) => void,
): Promise<RegisteredWebhooks> {
  await using created = new AsyncDisposableStack();
  const ids: string[] = [];
  for (const script of demoWebhooks) {
    const { id, secret } = await createWebhook(client, script, receiver.urlOf(script));
    created.defer(async () => {
      await deleteWebhook(client, id).catch((error: unknown) => print(`webhook ${id} stays: ${String(error)}`));
    });
    receiver.expect(script, secret);
    ids.push(id);
  }
  const kept = created.move();
  return { ids, [Symbol.asyncDispose]: async () => await kept.disposeAsync() };
}

const userErrors = z.array(z.object({ message: z.string() }));

async function createWebhook(
  client: DemoClient,
  { name, eventTypes }: DemoWebhook,
  url: string,
): Promise<{ id: string; secret: string }> {
  const { createWebhook: payload } = await client.request({
    document: `mutation DemoCreateWebhook($input: CreateWebhookInput!) {
      createWebhook(input: $input) { webhook { id } secret userErrors { message } }
    }`,
    variables: { input: { name, url, eventTypes, retrySchedule: demoRetrySchedule } },
    data: z.object({
      createWebhook: z.object({
        webhook: z.object({ id: z.string() }).nullable(),
        secret: z.string().nullable(),
        userErrors,
      }),
    }),
  });
  refuse(`the webhook ${name}`, payload.userErrors);
  const { webhook, secret } = payload;
  if (webhook === null || secret === null) throw new Error(`Posthorn created no webhook ${name}, and said not why`);
  return { id: webhook.id, secret };
}

async function deleteWebhook(client: DemoClient, id: string): Promise<void> {
  const { deleteWebhook: payload } = await client.request({
    document: `mutation DemoDeleteWebhook($input: DeleteWebhookInput!) {
      deleteWebhook(input: $input) { userErrors { message } }
    }`,
    variables: { input: { id } },
    data: z.object({ deleteWebhook: z.object({ userErrors }) }),
  });
  refuse(`deleting ${id}`, payload.userErrors);
}

/** Sends a test delivery to the webhook, and waits for its answer. */
export async function testWebhook(client: DemoClient, id: string): Promise<void> {
  const { testWebhook: payload } = await client.request({
    document: `mutation DemoTestWebhook($input: TestWebhookInput!) {
      testWebhook(input: $input) { userErrors { message } }
    }`,
    variables: { input: { id } },
    data: z.object({ testWebhook: z.object({ userErrors }) }),
  });
  refuse('the test delivery', payload.userErrors);
}

/** Emits the event and gives its id. */
export async function emitEvent(client: DemoClient, { type, data }: DemoEvent): Promise<string> {
  const { emitEvent: payload } = await client.request({
    document: `mutation DemoEmitEvent($input: EmitEventInput!) {
      emitEvent(input: $input) { event { id } userErrors { message } }
    }`,
    variables: { input: { type, data } },
    data: z.object({ emitEvent: z.object({ event: z.object({ id: z.string() }).nullable(), userErrors }) }),
  });
  refuse(`the event ${type}`, payload.userErrors);
  if (payload.event === null) throw new Error(`Posthorn stored no event ${type}, and said not why`);
  return payload.event.id;
}

/** The attempts that each delivery of the events to the webhooks has according to the database. */
export async function listAttemptCounts(
  client: DemoClient,
  webhookIds: readonly string[],
  eventIds: readonly string[],
): Promise<number[]> {
  const { deliveries } = await client.request({
    document: `query DemoDeliveries($filter: DeliveryFilter!) {
      deliveries(first: 100, filter: $filter) { nodes { attemptCount } }
    }`,
    variables: { filter: { webhookIds, eventIds } },
    data: z.object({ deliveries: z.object({ nodes: z.array(z.object({ attemptCount: z.int() })) }) }),
  });
  return deliveries.nodes.map((delivery) => delivery.attemptCount);
}

/** Throws when Posthorn refused what it was asked. */
function refuse(what: string, errors: z.infer<typeof userErrors>): void {
  if (errors.length > 0) throw new Error(`Posthorn refused ${what}: ${errors.map((error) => error.message).join(' ')}`);
}
