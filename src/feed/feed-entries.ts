import type { AttemptTrigger } from '../domain/delivery.ts';
import type { DeliveryId, EventId, WebhookId } from '../domain/ids.ts';
import type { FeedEntry } from './feed.ts';

/** An event that was stored. */
interface CreatedEvent {
  id: EventId;
  type: string;
  createdAt: Date;
}

/** A delivery that fan-out made of it. */
interface CreatedDelivery {
  id: DeliveryId;
  webhookId: WebhookId;
  status: 'PENDING' | 'SKIPPED';
  trigger: AttemptTrigger;
  maxAttempts: number;
  dueAt: Date | null;
}

/** What the feed is told of a delivery that was just created. */
export function createdEntry(event: CreatedEvent, delivery: CreatedDelivery, now: Date): FeedEntry {
  const skipped = delivery.status === 'SKIPPED';
  return {
    change: skipped ? 'SKIPPED' : 'CREATED',
    at: now.toISOString(),
    webhookId: delivery.webhookId,
    eventType: event.type,
    attempt: null,
    delivery: {
      id: delivery.id,
      eventId: event.id,
      webhookId: delivery.webhookId,
      status: delivery.status,
      attemptCount: 0,
      maxAttempts: delivery.maxAttempts,
      roundStart: 0,
      trigger: delivery.trigger,
      dueAt: delivery.dueAt?.toISOString() ?? null,
      failureReason: skipped ? 'WEBHOOK_DISABLED' : null,
      createdAt: event.createdAt.toISOString(),
      finishedAt: skipped ? event.createdAt.toISOString() : null,
    },
  };
}

/** What the feed is told when a webhook's status changed. */
export function webhookEntry(webhookId: WebhookId, now: Date): FeedEntry {
  const at = now.toISOString();
  return { change: 'WEBHOOK_STATUS_CHANGED', at, webhookId, eventType: null, delivery: null, attempt: null };
}
