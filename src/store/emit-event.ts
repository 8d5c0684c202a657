import type { AttemptTrigger, DeliveryStatus } from '../domain/delivery.ts';
import type { DeliveryId, EventId, ProjectId, WebhookId } from '../domain/ids.ts';

/** An event to store. */
export interface EmitInput {
  projectId: ProjectId;
  /** A valid event type (src/domain/event-type.ts). */
  type: string;
  /** Any JSON value. */
  data: unknown;
  idempotencyKey: string | null;
  occurredAt: Date;
  /** First attempts not before this; null means now. */
  deliverAt: Date | null;
  /** Deliver to this webhook only, whatever its filters, as a test; null means to every webhook that matches. */
  testWebhookId: WebhookId | null;
}

export interface StoredEvent {
  id: EventId;
  projectId: ProjectId;
  type: string;
  /** The exact bytes that are signed and sent. */
  body: string;
  occurredAt: Date;
  createdAt: Date;
  idempotencyKey: string | null;
}

export interface CreatedDelivery {
  id: DeliveryId;
  webhookId: WebhookId;
  status: DeliveryStatus;
  trigger: AttemptTrigger;
  maxAttempts: number;
  /** Null when due at once. */
  dueAt: Date | null;
}

/**
 * What became of an emit. `duplicate`: the idempotency key was used before with the same type and data; `event` is that one.
 * `conflict`: it was used before with another type or data; nothing was stored.
 */
export type EmitResult =
  | { kind: 'stored'; event: StoredEvent; deliveries: readonly CreatedDelivery[] }
  | { kind: 'duplicate'; event: StoredEvent; deliveryCount: number }
  | { kind: 'conflict'; event: StoredEvent };

export type EmitEvent = (input: EmitInput) => Promise<EmitResult>;
