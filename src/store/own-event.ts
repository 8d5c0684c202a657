import { newEvent, storeEvents } from './emit-event.ts';
import type { ProjectId, WebhookId } from '../domain/ids.ts';
import type { Queryable } from './pipelines.ts';
import type { CreatedDelivery, EmitSettings, StoredEvent } from './emit-event.ts';

/** The types of the events that Posthorn emits itself, into the project that they are about. */
export type OwnEventType =
  | 'posthorn.webhook.failing'
  | 'posthorn.webhook.recovered'
  | 'posthorn.webhook.disabled'
  | 'posthorn.delivery.exhausted';

/** Something that Posthorn has to say about a webhook or its delivery. */
export interface OwnEventInput {
  projectId: ProjectId;
  /** Whom it is about; every other webhook may receive it. */
  webhookId: WebhookId;
  type: OwnEventType;
  data: Readonly<Record<string, unknown>>;
}

/** An own event as it was stored, to announce and enqueue once the transaction has committed. */
export interface OwnEvent {
  event: StoredEvent;
  deliveries: readonly CreatedDelivery[];
}

/** Stores own events, in the transaction of the change that they tell of: there is neither without the other. */
export async function storeOwnEvents(
  transaction: Queryable,
  settings: EmitSettings,
  inputs: readonly OwnEventInput[],
): Promise<OwnEvent[]> {
  const now = new Date();
  const events = inputs.map(({ projectId, webhookId, type, data }) => ({
    ...newEvent({
      projectId,
      type,
      data,
      idempotencyKey: null,
      occurredAt: now,
      // A due time from the start: should this transaction take so long to commit that sweep has looked past its ids, sweep
      // finds the deliveries all the same. These are rare, what it costs does not count.
      deliverAt: now,
      testWebhookId: null,
    }),
    exceptWebhookId: webhookId,
  }));
  const results = await storeEvents(transaction, settings, events);
  return results.flatMap((result) =>
    result.kind === 'stored' ? [{ event: result.event, deliveries: result.deliveries }] : [],
  );
}
