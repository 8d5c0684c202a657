import type { Event, Webhook } from '../../prisma/generated/client/client.ts';

// What a page of deliveries can be read with: the event and the webhook of each, joined to it under names of their own. A
// page is shown with both more often than not, and one statement costs half of what two do.

/** An event as lists read it: without its body and its trace. */
export type ListedEvent = Omit<Event, 'body' | 'traceParent'>;

/** A webhook as lists read it: without its circuit. */
export type ListedWebhook = Omit<Webhook, 'circuitOpenedAt' | 'circuitOpenUntil' | 'circuitOpenCount'>;

/** What a delivery's row knows of both. */
interface Ids {
  projectId: string;
  eventId: string;
  webhookId: string;
}

/** The columns of an event; null when it is gone, and absent when it was not asked for. */
export interface JoinedEvent {
  'e.type'?: string | null;
  'e.occurredAt': Date;
  'e.createdAt': Date;
  'e.idempotencyKey': string | null;
}

/** What to select of `e`. */
export const eventColumns = `e.type as "e.type", e.occurred_at as "e.occurredAt", e.created_at as "e.createdAt",
  e.idempotency_key as "e.idempotencyKey"`;

/** The event in a row; null when it is gone or was not asked for. */
export function eventIn(row: Ids & JoinedEvent): ListedEvent | null {
  const { 'e.type': type = null } = row;
  if (type === null) return null;
  return {
    id: row.eventId,
    projectId: row.projectId,
    type,
    occurredAt: row['e.occurredAt'],
    createdAt: row['e.createdAt'],
    idempotencyKey: row['e.idempotencyKey'],
  };
}

/** The columns of a webhook; absent when it was not asked for. */
export interface JoinedWebhook {
  'w.name'?: string | null;
  'w.description': string | null;
  'w.url': string;
  'w.eventTypes': string[];
  'w.status': ListedWebhook['status'];
  'w.statusReason': string | null;
  'w.statusChangedAt': Date;
  'w.headers': ListedWebhook['headers'];
  'w.signatureStyle': ListedWebhook['signatureStyle'];
  'w.signAsymmetrically': boolean;
  'w.maxAttempts': number | null;
  'w.retrySchedule': number[];
  'w.rateLimitPerSecond': number | null;
  'w.createdAt': Date;
  'w.updatedAt': Date;
  'w.deletedAt': Date | null;
}

/** What to select of `w`. */
export const webhookColumns = `w.name as "w.name", w.description as "w.description", w.url as "w.url",
  w.event_types as "w.eventTypes", w.status as "w.status", w.status_reason as "w.statusReason",
  w.status_changed_at as "w.statusChangedAt", w.headers as "w.headers", w.signature_style as "w.signatureStyle",
  w.sign_asymmetrically as "w.signAsymmetrically", w.max_attempts as "w.maxAttempts",
  w.retry_schedule as "w.retrySchedule", w.rate_limit_per_second as "w.rateLimitPerSecond",
  w.created_at as "w.createdAt", w.updated_at as "w.updatedAt", w.deleted_at as "w.deletedAt"`;

/** The webhook in a row, deleted or not; null when it was not asked for. */
export function webhookIn(row: Ids & JoinedWebhook): ListedWebhook | null {
  const { 'w.name': name = null } = row;
  if (name === null) return null;
  return {
    id: row.webhookId,
    projectId: row.projectId,
    name,
    description: row['w.description'],
    url: row['w.url'],
    eventTypes: row['w.eventTypes'],
    status: row['w.status'],
    statusReason: row['w.statusReason'],
    statusChangedAt: row['w.statusChangedAt'],
    headers: row['w.headers'],
    signatureStyle: row['w.signatureStyle'],
    signAsymmetrically: row['w.signAsymmetrically'],
    maxAttempts: row['w.maxAttempts'],
    retrySchedule: row['w.retrySchedule'],
    rateLimitPerSecond: row['w.rateLimitPerSecond'],
    createdAt: row['w.createdAt'],
    updatedAt: row['w.updatedAt'],
    deletedAt: row['w.deletedAt'],
  };
}
