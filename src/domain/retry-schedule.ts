/** Waits in seconds after the first, second, … failed attempt when neither deployment nor webhook says otherwise. */
export const defaultRetryScheduleSeconds: readonly number[] = [60, 300, 900, 3600, 14_400];

/** Attempts in all when neither deployment nor webhook says otherwise. */
export const defaultMaxAttempts = 6;

/** The longest that a receiver's `Retry-After` is honoured, 12 hours in milliseconds. */
export const retryAfterMsMax = 12 * 3600 * 1000;

const jitterShare = 0.2;

/**
 * The wait in milliseconds after failed attempt `attemptInRound` (from 1) of a round of the schedule.
 * The schedule's last entry repeats when it is shorter than the attempts; an empty schedule waits not at all.
 * `random` in [0, 1) spreads the wait evenly over ±20 %. A receiver's `retryAfterMs` can lengthen the wait, up to
 * 12 hours, and never shortens it.
 */
export function retryDelayMs(
  scheduleSeconds: readonly number[],
  attemptInRound: number,
  random: number,
  retryAfterMs: number | null,
): number {
  const baseSeconds = scheduleSeconds[Math.min(attemptInRound, scheduleSeconds.length) - 1] ?? 0;
  const jittered = Math.round(baseSeconds * 1000 * (1 - jitterShare + 2 * jitterShare * random));
  return Math.max(jittered, Math.min(retryAfterMs ?? 0, retryAfterMsMax));
}

/** Between which bounds, both included, `retryDelayMs` lies when no receiver asks for a longer wait. */
export function retryDelayRangeMs(
  scheduleSeconds: readonly number[],
  attemptInRound: number,
): { shortestMs: number; longestMs: number } {
  return {
    shortestMs: retryDelayMs(scheduleSeconds, attemptInRound, 0, null),
    longestMs: retryDelayMs(scheduleSeconds, attemptInRound, 1, null),
  };
}

/** A schedule that a person gave: whole or fractional seconds from 0 to 7 days, at most 20 entries; null when it is not one. */
export function isRetrySchedule(seconds: readonly number[]): boolean {
  const longest = 7 * 24 * 3600;
  return seconds.length <= 20 && seconds.every((wait) => Number.isFinite(wait) && wait >= 0 && wait <= longest);
}
