import { isSuccess } from '../src/domain/delivery.ts';
import type { AttemptSnapshot, DeliverySnapshot, FeedChange, FeedEntry } from '../src/feed/feed.ts';
import type { ResentDelivery } from '../src/store/recovery-step.ts';
import type { SettledDelivery } from '../src/store/settle-unsendable.ts';
import type { DeliveryChange } from './deliver.ts';

/** What the feed shows of an attempt. */
export function attemptEntry(change: DeliveryChange, at: Date): FeedEntry {
  const { dispatch } = change;
  return {
    change: feedChange(change),
    at: at.toISOString(),
    webhookId: dispatch.webhookId,
    eventType: dispatch.eventType,
    delivery: deliverySnapshot(change),
    attempt: attemptSnapshot(change),
  };
}

/** What the feed shows of a delivery that ended without an attempt. */
export function settledEntry(delivery: SettledDelivery, at: Date): FeedEntry {
  const { projectId: _, eventType, createdAt, finishedAt, ...rest } = delivery;
  return {
    change: delivery.status,
    at: at.toISOString(),
    webhookId: delivery.webhookId,
    eventType,
    delivery: { ...rest, dueAt: null, createdAt: createdAt.toISOString(), finishedAt: finishedAt.toISOString() },
    attempt: null,
  };
}

/** What the feed shows of a delivery that a recovery sent again. */
export function resentEntry({ eventType, ...delivery }: ResentDelivery, at: Date): FeedEntry {
  return {
    change: 'RESENT',
    at: at.toISOString(),
    webhookId: delivery.webhookId,
    eventType,
    delivery: {
      ...delivery,
      status: 'PENDING',
      roundStart: delivery.attemptCount,
      trigger: 'MANUAL',
      dueAt: delivery.dueAt?.toISOString() ?? null,
      failureReason: null,
      createdAt: delivery.createdAt.toISOString(),
      finishedAt: null,
    },
    attempt: null,
  };
}

const changes = {
  delivered: 'DELIVERED',
  retry: 'RETRY_SCHEDULED',
  failed: 'FAILED',
} as const satisfies Record<DeliveryChange['decision']['kind'], FeedChange>;

/** ATTEMPTED is an attempt that decided nothing: its claim was lost while it was under way. */
function feedChange({ decision, recorded }: DeliveryChange): FeedChange {
  return recorded.decided ? changes[decision.kind] : 'ATTEMPTED';
}

function deliverySnapshot({ dispatch, recorded }: DeliveryChange): DeliverySnapshot {
  const { dueAt, finishedAt, ...state } = recorded.delivery;
  return {
    ...state,
    id: dispatch.deliveryId,
    eventId: dispatch.eventId,
    webhookId: dispatch.webhookId,
    maxAttempts: dispatch.maxAttempts,
    roundStart: dispatch.roundStart,
    trigger: 'AUTOMATIC',
    dueAt: dueAt?.toISOString() ?? null,
    createdAt: dispatch.createdAt.toISOString(),
    finishedAt: finishedAt?.toISOString() ?? null,
  };
}

function attemptSnapshot({ dispatch, result, recorded }: DeliveryChange): AttemptSnapshot {
  const { response, timings } = result;
  return {
    id: recorded.attemptId,
    number: dispatch.attemptNumber,
    outcome: response !== null && isSuccess(response.status) ? 'SUCCEEDED' : 'FAILED',
    trigger: dispatch.trigger,
    startedAt: result.startedAt.toISOString(),
    durationMs: Math.round(result.durationMs),
    dnsMs: rounded(timings.dnsMs),
    connectMs: rounded(timings.connectMs),
    tlsMs: rounded(timings.tlsMs),
    firstByteMs: rounded(timings.firstByteMs),
    responseStatus: response?.status ?? null,
    errorCode: result.errorCode,
    errorMessage: result.errorMessage,
  };
}

function rounded(ms: number | null): number | null {
  return ms === null ? null : Math.round(ms);
}
