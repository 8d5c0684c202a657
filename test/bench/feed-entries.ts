import { idFromUuid } from '../../src/domain/ids.ts';
import type { FeedEntry } from '../../src/feed/feed.ts';

/** The project whose feed is watched. */
export const feedProjectId = idFromUuid('project', '01980000-0000-7000-8000-000000000001');

/** What everyone subscribes to: all of it is in the feed, so no database is asked. */
export const feedQuery =
  'subscription Watch($after: String) { deliveryFeed(after: $after) { cursor at change delivery { id status attemptCount nextAttemptAt } ' +
  'attempt { number outcome durationMs responseStatus errorMessage } } }';

const webhookId = idFromUuid('webhook', '01980000-0000-7000-8000-000000000002');
const deliveryId = idFromUuid('delivery', '01980000-0000-7000-8000-000000000003');

/** A failed attempt whose message is the time, on the clock of `clockMs`, at which it was published. */
export function entryOf(publishedAtMs: number): FeedEntry {
  const at = new Date().toISOString();
  return {
    change: 'RETRY_SCHEDULED',
    at,
    webhookId,
    eventType: 'config.deployed',
    delivery: {
      id: deliveryId,
      eventId: idFromUuid('event', '01980000-0000-7000-8000-000000000004'),
      webhookId,
      status: 'RETRYING',
      attemptCount: 1,
      maxAttempts: 6,
      roundStart: 0,
      trigger: 'AUTOMATIC',
      dueAt: at,
      failureReason: null,
      createdAt: at,
      finishedAt: null,
    },
    attempt: {
      id: idFromUuid('attempt', '01980000-0000-7000-8000-000000000005'),
      number: 1,
      outcome: 'FAILED',
      trigger: 'AUTOMATIC',
      startedAt: at,
      durationMs: 12,
      dnsMs: null,
      connectMs: 1,
      tlsMs: null,
      firstByteMs: 10,
      responseStatus: 500,
      errorCode: null,
      errorMessage: publishedAtMs.toFixed(3).padStart(20, '0'),
    },
  };
}
