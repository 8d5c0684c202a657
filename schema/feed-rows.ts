import { type DeliveryId, idFromUuid, type ProjectId, uuidOf } from '../src/domain/ids.ts';
import type { FailureReason } from '../src/domain/delivery.ts';
import type { AttemptSnapshot, DeliverySnapshot, FeedEntry } from '../src/feed/feed.ts';
import type { AttemptRow } from './attempt-loaders.ts';
import type { DeliveryRow } from './delivery.ts';

// Between the feed's snapshots and the database's rows, so that one GraphQL type shows both.

/** The row that a delivery's snapshot was. */
export function deliveryRowOf(projectId: ProjectId, snapshot: DeliverySnapshot): DeliveryRow {
  return {
    id: uuidOf(snapshot.id),
    projectId: uuidOf(projectId),
    eventId: uuidOf(snapshot.eventId),
    webhookId: uuidOf(snapshot.webhookId),
    status: snapshot.status,
    attemptCount: snapshot.attemptCount,
    maxAttempts: snapshot.maxAttempts,
    roundStart: snapshot.roundStart,
    trigger: snapshot.trigger,
    dueAt: instantOf(snapshot.dueAt),
    failureReason: snapshot.failureReason,
    createdAt: new Date(snapshot.createdAt),
    finishedAt: instantOf(snapshot.finishedAt),
  };
}

/** The row that an attempt's snapshot was. Its response headers and body are not in it: resolvers load them by id. */
export function attemptRowOf(deliveryId: DeliveryId, snapshot: AttemptSnapshot): AttemptRow {
  return {
    ...snapshot,
    id: uuidOf(snapshot.id),
    deliveryId: uuidOf(deliveryId),
    startedAt: new Date(snapshot.startedAt),
  };
}

/** What the feed is told of a delivery's row. */
export function snapshotOf(row: DeliveryRow): DeliverySnapshot {
  return {
    id: idFromUuid('delivery', row.id),
    eventId: idFromUuid('event', row.eventId),
    webhookId: idFromUuid('webhook', row.webhookId),
    status: row.status,
    attemptCount: row.attemptCount,
    maxAttempts: row.maxAttempts,
    roundStart: row.roundStart,
    trigger: row.trigger,
    dueAt: row.dueAt?.toISOString() ?? null,
    failureReason: failureReasonOf(row.failureReason),
    createdAt: row.createdAt.toISOString(),
    finishedAt: row.finishedAt?.toISOString() ?? null,
  };
}

/** What the feed is told of a delivery that a person changed. */
export function changedEntry(
  change: 'CREATED' | 'RESENT' | 'CANCELLED',
  row: DeliveryRow,
  eventType: string,
  now: Date,
): FeedEntry {
  const delivery = snapshotOf(row);
  return { change, at: now.toISOString(), webhookId: delivery.webhookId, eventType, delivery, attempt: null };
}

function instantOf(text: string | null): Date | null {
  return text === null ? null : new Date(text);
}

function failureReasonOf(text: string | null): FailureReason | null {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the column holds what src/domain/delivery.ts names
  return text as FailureReason | null;
}
