import { type DeliveryStatus, hasEnded } from './delivery.ts';
import { retryDelayRangeMs } from './retry-schedule.ts';

/** What an attempt that is to come looks like if all before it fail. */
export interface UpcomingAttempt {
  /** Over the delivery's whole life, from 1. */
  number: number;
  earliestAt: Date;
  latestAt: Date;
}

/** One attempt of a round of the schedule, counted from the round's first attempt. */
export interface AttemptPreview {
  /** From 1. */
  number: number;
  earliestAfterSeconds: number;
  latestAfterSeconds: number;
}

/** Where a delivery stands, as far as its coming attempts depend on it. */
export interface PreviewedDelivery {
  status: DeliveryStatus;
  attemptCount: number;
  maxAttempts: number;
  roundStart: number;
  /** When its next attempt is due; null when it is due already. Says nothing while an attempt is being made. */
  dueAt: Date | null;
}

/**
 * The attempts that a delivery has before it, in order, were all of them to fail by schedule: none when it has ended, and
 * without the one being made, which is taken to fail now. Attempts take no time here, and no receiver asks for a longer
 * wait; each range contains whatever the jitter gives.
 */
export function upcomingAttempts(
  delivery: PreviewedDelivery,
  scheduleSeconds: readonly number[],
  now: Date,
): UpcomingAttempt[] {
  const { status, attemptCount, roundStart, dueAt } = delivery;
  if (hasEnded(status)) return [];
  const nextNumber = attemptCount + 1;
  // A delivery that is due is attempted, even if a late record has used up its numbers meanwhile.
  const lastNumber = Math.max(delivery.maxAttempts, nextNumber);
  const offsets = attemptOffsets(nextNumber - roundStart, lastNumber - roundStart, scheduleSeconds);
  const underWay = status === 'DELIVERING';
  const startMs = underWay ? now.getTime() : Math.max(now.getTime(), dueAt?.getTime() ?? 0);
  return (underWay ? offsets.slice(1) : offsets).map((offset) => ({
    number: offset.number + roundStart,
    earliestAt: new Date(startMs + offset.earliestMs),
    latestAt: new Date(startMs + offset.latestMs),
  }));
}

/** All attempts of a round of the schedule, were all of them to fail; reckoned like `upcomingAttempts`. */
export function attemptPreview(maxAttempts: number, scheduleSeconds: readonly number[]): AttemptPreview[] {
  return attemptOffsets(1, maxAttempts, scheduleSeconds).map(({ number, earliestMs, latestMs }) => ({
    number,
    earliestAfterSeconds: earliestMs / 1000,
    latestAfterSeconds: latestMs / 1000,
  }));
}

interface AttemptOffset {
  number: number;
  earliestMs: number;
  latestMs: number;
}

/** Attempts `first` to `last` of a round, counted in time from attempt `first`. */
function attemptOffsets(first: number, last: number, scheduleSeconds: readonly number[]): AttemptOffset[] {
  const offsets: AttemptOffset[] = [];
  let [earliestMs, latestMs] = [0, 0];
  for (let number = first; number <= last; number += 1) {
    offsets.push({ number, earliestMs, latestMs });
    const wait = retryDelayRangeMs(scheduleSeconds, number);
    earliestMs += wait.shortestMs;
    latestMs += wait.longestMs;
  }
  return offsets;
}
