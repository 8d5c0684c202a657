import { graphql } from '../generated/gql.ts';
import { demoRetrySchedule, demoWebhooks } from './demo-script.ts';
import type { DemoClient } from './demo-client.ts';
import type { DemoReceiver } from './demo-receiver.ts';
import type { DemoEvent, DemoWebhook } from './demo-script.ts';

const createWebhookMutation = graphql(`
  mutation DemoCreateWebhook($input: CreateWebhookInput!) {
    createWebhook(input: $input) {
      webhook {
        id
      }
      secret
      userErrors {
        message
      }
    }
  }
`);

const deleteWebhookMutation = graphql(`
  mutation DemoDeleteWebhook($input: DeleteWebhookInput!) {
    deleteWebhook(input: $input) {
      userErrors {
        message
      }
    }
  }
`);

const testWebhookMutation = graphql(`
  mutation DemoTestWebhook($input: TestWebhookInput!) {
    testWebhook(input: $input) {
      userErrors {
        message
      }
    }
  }
`);

const emitEventMutation = graphql(`
  mutation DemoEmitEvent($input: EmitEventInput!) {
    emitEvent(input: $input) {
      event {
        id
      }
      userErrors {
        message
      }
    }
  }
`);

const deliveriesQuery = graphql(`
  query DemoDeliveries($filter: DeliveryFilter!) {
    deliveries(first: 100, filter: $filter) {
      nodes {
        attemptCount
      }
    }
  }
`);

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

async function createWebhook(
  client: DemoClient,
  { name, eventTypes }: DemoWebhook,
  url: string,
): Promise<{ id: string; secret: string }> {
  const input = { name, url, eventTypes: [...eventTypes], retrySchedule: [...demoRetrySchedule] };
  const { createWebhook: payload } = await client.request(createWebhookMutation, { input });
  refuse(`the webhook ${name}`, payload.userErrors);
  const { webhook, secret } = payload;
  if (webhook === null || secret === null) throw new Error(`Posthorn created no webhook ${name}, and said not why`);
  return { id: webhook.id, secret };
}

async function deleteWebhook(client: DemoClient, id: string): Promise<void> {
  const { deleteWebhook: payload } = await client.request(deleteWebhookMutation, { input: { id } });
  refuse(`deleting ${id}`, payload.userErrors);
}

/** Sends a test delivery to the webhook, and waits for its answer. */
export async function testWebhook(client: DemoClient, id: string): Promise<void> {
  const { testWebhook: payload } = await client.request(testWebhookMutation, { input: { id } });
  refuse('the test delivery', payload.userErrors);
}

/** Emits the event and gives its id. */
export async function emitEvent(client: DemoClient, { type, data }: DemoEvent): Promise<string> {
  const { emitEvent: payload } = await client.request(emitEventMutation, { input: { type, data } });
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
  const filter = { webhookIds: [...webhookIds], eventIds: [...eventIds] };
  const { deliveries } = await client.request(deliveriesQuery, { filter });
  return deliveries.nodes.map((delivery) => delivery.attemptCount);
}

/** Throws when Posthorn refused what it was asked. */
function refuse(what: string, errors: readonly { message: string }[]): void {
  if (errors.length > 0) throw new Error(`Posthorn refused ${what}: ${errors.map((error) => error.message).join(' ')}`);
}
