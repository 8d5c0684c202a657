import type { KeyObject } from 'node:crypto';
import type { DeliveryId, EventId, ProjectId, WebhookId } from './ids.ts';
import type { SignatureStyle } from './signature.ts';
import type { TraceParent } from './trace-parent.ts';
import { retryDelayMs } from './retry-schedule.ts';

/** Where a delivery stands; it is always in exactly one of these (DESIGN: the ledger). */
export const deliveryStatuses = [
  'PENDING',
  'DELIVERING',
  'DELIVERED',
  'RETRYING',
  'FAILED',
  'SKIPPED',
  'CANCELLED',
] as const;
export type DeliveryStatus = (typeof deliveryStatuses)[number];

const endsByStatus = {
  PENDING: false,
  DELIVERING: false,
  DELIVERED: true,
  RETRYING: false,
  FAILED: true,
  SKIPPED: true,
  CANCELLED: true,
} as const satisfies Record<DeliveryStatus, boolean>;

/** Whether a delivery in this status has ended: only a person's resend makes anything follow. */
export function hasEnded(status: DeliveryStatus): boolean {
  return endsByStatus[status];
}

export type AttemptTrigger = 'AUTOMATIC' | 'MANUAL' | 'TEST';

/** Why a delivery ended without being delivered. Stable text. */
export const failureReasons = [
  'EXHAUSTED',
  'GONE',
  'ABORTED_BY_RECEIVER',
  'DISABLED_BY_RECEIVER',
  'WEBHOOK_DELETED',
  'WEBHOOK_DISABLED',
  'CANCELLED_BY_USER',
] as const;
export type FailureReason = (typeof failureReasons)[number];

/** What went wrong with an attempt that has no answer, or none that counts. Stable text. */
export type AttemptErrorCode =
  | 'DNS'
  | 'CONNECT'
  | 'TLS'
  | 'TIMEOUT'
  | 'BLOCKED_ADDRESS'
  | 'PROTOCOL'
  | 'BODY_TOO_LARGE'
  | 'INTERNAL';

/** A delivery to be attempted, and whose it is: workers look at the webhook before they take the delivery. */
export interface DueDelivery {
  id: DeliveryId;
  webhookId: WebhookId;
}

/** Everything needed to make one attempt, loaded by the claim that took the delivery. */
export interface Dispatch {
  deliveryId: DeliveryId;
  projectId: ProjectId;
  eventId: EventId;
  webhookId: WebhookId;
  eventType: string;
  /** The exact bytes to sign and send. */
  body: string;
  url: string;
  headers: readonly { name: string; value: string }[];
  signatureStyle: SignatureStyle;
  /** Keys of every active secret, newest first. */
  secrets: readonly Uint8Array[];
  /** Every active ed25519 private key, newest first; empty unless the webhook signs asymmetrically. */
  asymmetricKeys: readonly KeyObject[];
  /** Number of this attempt over the delivery's whole life, from 1. */
  attemptNumber: number;
  /** Attempts made before this round of the schedule; a resend starts a new round. */
  roundStart: number;
  /** Attempts allowed in all, those of earlier rounds included. */
  maxAttempts: number;
  retryScheduleSeconds: readonly number[];
  trigger: AttemptTrigger;
  /** Where its event was emitted in a trace; null when that is not known. */
  traceParent: TraceParent | null;
  /** Identifies this claim: only the worker that still holds it may decide the delivery's fate. */
  claimedAt: Date;
  createdAt: Date;
}

/** Durations of an attempt's phases, in milliseconds; null where the phase did not happen (a kept-alive connection). */
export interface AttemptTimings {
  dnsMs: number | null;
  connectMs: number | null;
  tlsMs: number | null;
  firstByteMs: number | null;
}

/** The head and the first bytes of an answer. */
export interface ReceiverResponse {
  status: number;
  /** At most 32. */
  headers: readonly { name: string; value: string }[];
  /** At most 4 KiB of valid UTF-8, control characters escaped. */
  body: string;
}

/** What happened when an attempt was made. `errorMessage` is written for the customer. */
export interface SendResult {
  startedAt: Date;
  durationMs: number;
  timings: AttemptTimings;
  response: ReceiverResponse | null;
  errorCode: AttemptErrorCode | null;
  errorMessage: string | null;
  /** The answer's `Retry-After`, as milliseconds from now. */
  retryAfterMs: number | null;
  /** The answer's `webhook-delivery` header. */
  receiverControl: 'disable' | 'abort-message' | null;
  /** The trace that the attempt is part of; absent when there is none. */
  traceId?: string;
}

/** What follows from an attempt. */
export type Decision =
  | { kind: 'delivered' }
  | { kind: 'retry'; delayMs: number }
  | { kind: 'failed'; reason: FailureReason; disableWebhook: 'GONE' | 'DISABLED_BY_RECEIVER' | null };

/** Says everything that follows from an attempt's result. `random` in [0, 1) jitters the wait before a retry. */
export function decide(dispatch: Dispatch, result: SendResult, random: number): Decision {
  const { response, receiverControl } = result;
  if (receiverControl === 'disable') {
    return { kind: 'failed', reason: 'DISABLED_BY_RECEIVER', disableWebhook: 'DISABLED_BY_RECEIVER' };
  }
  if (receiverControl === 'abort-message') {
    return { kind: 'failed', reason: 'ABORTED_BY_RECEIVER', disableWebhook: null };
  }
  if (response !== null && isSuccess(response.status)) return { kind: 'delivered' };
  if (response?.status === 410) return { kind: 'failed', reason: 'GONE', disableWebhook: 'GONE' };
  if (dispatch.attemptNumber >= dispatch.maxAttempts) {
    return { kind: 'failed', reason: 'EXHAUSTED', disableWebhook: null };
  }
  const attemptInRound = dispatch.attemptNumber - dispatch.roundStart;
  return {
    kind: 'retry',
    delayMs: retryDelayMs(dispatch.retryScheduleSeconds, attemptInRound, random, retryAfterOf(result)),
  };
}

/** Whether an answer's status counts as delivered. */
export function isSuccess(status: number): boolean {
  return status >= 200 && status <= 299;
}

/** Only 429 and 503 may ask for a wait. Source: RFC 9110 §10.2.3, RFC 6585 §4. */
function retryAfterOf(result: SendResult): number | null {
  const status = result.response?.status;
  return status === 429 || status === 503 ? result.retryAfterMs : null;
}

const statusByDecision = {
  delivered: 'DELIVERED',
  retry: 'RETRYING',
  failed: 'FAILED',
} as const satisfies Record<Decision['kind'], DeliveryStatus>;

/** The status that a decision gives its delivery. */
export function statusAfter(decision: Decision): DeliveryStatus {
  return statusByDecision[decision.kind];
}
