import type { Dispatch, SendResult } from './delivery.ts';
import { isSuccess } from './delivery.ts';

/**
 * What an attempt says about its receiver. `overloaded`: it asked for less (429, 503). `refused`: it answered anything
 * else that is no success. `unanswered`: no answer came. `unknown`: nothing about its health: the attempt failed on our
 * side, or the answer asks for the webhook to be disabled, which is done for that reason.
 */
export type ReceiverSign = 'succeeded' | 'overloaded' | 'refused' | 'unanswered' | 'unknown';

/** Reads the sign in an attempt's result. */
export function receiverSign({ response, errorCode, receiverControl }: SendResult): ReceiverSign {
  if (response === null) return errorCode === 'INTERNAL' ? 'unknown' : 'unanswered';
  if (response.status === 410 || receiverControl === 'disable') return 'unknown';
  if (isSuccess(response.status)) return 'succeeded';
  return response.status === 429 || response.status === 503 ? 'overloaded' : 'refused';
}

/** Requests in flight that a webhook starts with, per worker. */
export const initialCap = 8;

/**
 * How many requests of a webhook may be in flight from here on, from 1 to `capMax`. A success raises the cap by one while
 * half of it or more is used, and lets it sink towards the initial 8 while less than a quarter is: a healthy webhook has room
 * for twice what it needs, and a quiet one that falls silent cannot take what a busy one had earned. No answer, or an answer
 * that asks for less, halves it.
 * Source: additive increase, multiplicative decrease, as TCP's congestion avoidance (RFC 5681 §3.1).
 */
export function nextCap(cap: number, sign: ReceiverSign, use: { inFlight: number; capMax: number }): number {
  if (sign === 'unanswered' || sign === 'overloaded') return Math.max(1, Math.floor(cap / 2));
  if (sign !== 'succeeded') return cap;
  if (use.inFlight * 2 >= cap) return Math.min(use.capMax, cap + 1);
  return use.inFlight * 4 < cap && cap > initialCap ? cap - 1 : cap;
}

/** Failures in a row, weighted, that make a webhook FAILING and open its circuit. */
export const failureWeightMax = 30;

/** The last attempt of a delivery counts most: a webhook with one event a week fails visibly, too. */
const lastAttemptWeight = 25;
const signWeight = { succeeded: 0, unknown: 0, refused: 1, overloaded: 1, unanswered: 6 } as const;

/**
 * The weight of failures in a row after one more attempt; a success gives 0. Five attempts without an answer reach the
 * limit, thirty refusals, or a delivery that fails to its last attempt after a few others. A test says nothing, but it may
 * succeed.
 */
export function nextFailureWeight(
  weight: number,
  sign: ReceiverSign,
  dispatch: Pick<Dispatch, 'attemptNumber' | 'maxAttempts' | 'trigger'>,
): number {
  if (sign === 'succeeded') return 0;
  if (sign === 'unknown' || dispatch.trigger === 'TEST') return weight;
  const isLast = dispatch.attemptNumber >= dispatch.maxAttempts;
  return weight + Math.max(signWeight[sign], isLast ? lastAttemptWeight : 0);
}

const firstOpenMs = 5_000;
const openMsMax = 120_000;

/**
 * How long an open circuit waits before its next probe: 5 s, doubled for each opening in a row up to two minutes, ±20 %.
 * `openCount` from 1; `random` in [0, 1).
 */
export function circuitOpenMs(openCount: number, random: number): number {
  const base = Math.min(openMsMax, firstOpenMs * 2 ** (Math.min(openCount, 16) - 1));
  return Math.round(base * (0.8 + 0.4 * random));
}

/** Why a webhook is FAILING, as its status reason: the answer's status or the error's code of its last attempt. */
export function failingReason({ response, errorCode }: SendResult): string {
  return response === null ? (errorCode ?? 'INTERNAL') : `HTTP_${response.status}`;
}
