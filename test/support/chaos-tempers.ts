import { createHash } from 'node:crypto';
import type { ReceiverAnswer } from './receiver.ts';

// Which receivers there are in a chaos run, and what each makes of a request. Pure: what a request gets is decided by its
// delivery and its attempt, so that a repeated request gets the same answer.

/** How a receiver behaves. The last two never take anything. */
export type Temper = 'FAST' | 'SLOW' | 'FLAKY' | 'DOWN_A_WHILE' | 'DRIBBLING' | 'CLOSING' | 'HANGING' | 'REFUSING';

/** A receiver with its webhook. */
export interface ReceiverPlan {
  temper: Temper;
  signatureStyle: 'STANDARD_WEBHOOKS' | 'TIMESTAMPED_HEX';
}

/** The receivers of one project; all projects have the same. */
export const receiverPlans: readonly ReceiverPlan[] = [
  { temper: 'FAST', signatureStyle: 'TIMESTAMPED_HEX' },
  { temper: 'FAST', signatureStyle: 'STANDARD_WEBHOOKS' },
  { temper: 'SLOW', signatureStyle: 'TIMESTAMPED_HEX' },
  { temper: 'SLOW', signatureStyle: 'STANDARD_WEBHOOKS' },
  { temper: 'FLAKY', signatureStyle: 'TIMESTAMPED_HEX' },
  { temper: 'DOWN_A_WHILE', signatureStyle: 'TIMESTAMPED_HEX' },
  { temper: 'DRIBBLING', signatureStyle: 'TIMESTAMPED_HEX' },
  { temper: 'CLOSING', signatureStyle: 'TIMESTAMPED_HEX' },
  { temper: 'HANGING', signatureStyle: 'TIMESTAMPED_HEX' },
  { temper: 'REFUSING', signatureStyle: 'TIMESTAMPED_HEX' },
];

/** Webhooks whose receivers never work give up after a few attempts, with these waits in seconds. */
export const hopeless = { maxAttempts: 3, retrySchedule: [1, 2] };

/** Projects of a run. */
export const chaosProjectCount = 2;
/** Webhooks that an event goes to. */
export const webhooksPerEvent = 3;

/** Whether it takes every delivery in the end. */
export function works(temper: Temper): boolean {
  return temper !== 'HANGING' && temper !== 'REFUSING';
}

/** Whether it takes every request at once or soon. */
export function isHealthy(temper: Temper): boolean {
  return temper === 'FAST' || temper === 'SLOW';
}

/** The project that an event belongs to, and its type. */
export function placeOfEvent(eventNumber: number): { project: number; type: string } {
  const numberInProject = Math.floor(eventNumber / chaosProjectCount);
  return { project: eventNumber % chaosProjectCount, type: typeName(numberInProject % receiverPlans.length) };
}

/** The event types that a receiver's webhook takes, by the receiver's place in its project. */
export function eventTypesOf(place: number): string[] {
  const places = Array.from({ length: webhooksPerEvent }, (_, index) => (place + index) % receiverPlans.length);
  return places.map(typeName);
}

function typeName(number: number): string {
  return `chaos.t${number}`;
}

/** What a request is told, and after how long. */
export interface TemperedAnswer {
  answer: ReceiverAnswer;
  afterMs: number;
}

/** What a receiver makes of an attempt. `isDown`: those that are down for a while are so now. */
export function answerTo(temper: Temper, attempt: string, isDown: boolean): TemperedAnswer {
  const chance = chanceOf(attempt);
  return { answer: answerOf[temper](chance, isDown), afterMs: temper === 'SLOW' ? 50 + 250 * chance : 0 };
}

/** `chance` is a number from 0 to below 1. */
const answerOf: Record<Temper, (chance: number, isDown: boolean) => ReceiverAnswer> = {
  FAST: () => ({}),
  SLOW: () => ({}),
  FLAKY: (chance) => (chance < 0.3 ? { status: 500 } : {}),
  DOWN_A_WHILE: (_chance, isDown) => (isDown ? { status: 500 } : {}),
  DRIBBLING: () => ({ body: 'drop by drop', drip: { everyMs: 50 } }),
  CLOSING: closing,
  HANGING: () => ({ hang: true }),
  REFUSING: () => ({ hang: true }),
};

function closing(chance: number): ReceiverAnswer {
  if (chance < 0.3) return { reset: 'BEFORE_HEAD' };
  return chance < 0.6 ? { reset: 'MID_BODY' } : {};
}

/** The status that the answer's head has; null when there is no head. */
export function statusOf(answer: ReceiverAnswer): number | null {
  return answer.hang === true || answer.reset === 'BEFORE_HEAD' ? null : (answer.status ?? 200);
}

/** A number from 0 to below 1 that the text decides. */
function chanceOf(text: string): number {
  return createHash('sha256').update(text).digest().readUInt32BE() / 2 ** 32;
}
