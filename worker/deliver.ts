import { decide } from '../src/domain/delivery.ts';
import type { Decision, Dispatch, SendResult } from '../src/domain/delivery.ts';
import type { DeliveryId } from '../src/domain/ids.ts';
import type { RecordedAttempt } from '../src/store/record-attempts.ts';

// worker: makes attempts. Invariant: a delivery leaves its job only after its attempt is committed and announced, so a
// crash at any point repeats an attempt at worst and never loses one. src/main.ts starts it; it knows no GraphQL.

/** An attempt that was made and committed, with everything that is known of it. */
export interface DeliveryChange {
  dispatch: Dispatch;
  result: SendResult;
  decision: Decision;
  recorded: RecordedAttempt;
}

/** What a delivery needs of the world, one port per step. */
export interface DeliverDeps {
  /** Takes the delivery if it is due, or gives null. */
  claim: (deliveryId: DeliveryId) => Promise<Dispatch | null>;
  /** Makes one HTTP request; a receiver's failure is a value, never an exception. */
  send: (dispatch: Dispatch, signal: AbortSignal) => Promise<SendResult>;
  /** Commits the attempt and what was decided. */
  record: (dispatch: Dispatch, result: SendResult, decision: Decision) => Promise<DeliveryChange>;
  /** Tells the feed, and the queue when a retry follows. */
  announce: (change: DeliveryChange) => Promise<void>;
  /** A number in [0, 1). */
  random: () => number;
}

/** Makes one attempt at one delivery: claim, send, decide, record, announce, each once and in that order. */
export async function deliver(deps: DeliverDeps, deliveryId: DeliveryId, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return; // stopping: what is claimed now would wait for its claim to go stale
  const dispatch = await deps.claim(deliveryId);
  if (dispatch === null) return; // not due any more: delivered, cancelled, paused, or another worker's
  const result = await deps.send(dispatch, signal);
  const decision = decide(dispatch, result, deps.random());
  const change = await deps.record(dispatch, result, decision);
  await deps.announce(change);
}
