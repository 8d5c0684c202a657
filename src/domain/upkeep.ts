// How far upkeep goes, whoever asks for it: the clock, a mutation, an admin route or a command.

/** Deliveries that one call retries at most. */
export const retryStuckMax = 10_000;
/** Days that history is kept unless the deployment says otherwise, and the most that anybody can name. */
export const retentionDaysDefault = 30;
export const retentionDaysMax = 3_650;
/** A call's cleanup goes on for this long at most, so that it is answered before anybody gives it up. */
export const cleanupCallLimitMs = 20_000;
/** An audit outlives the history: nobody who may shorten the one can hide in the other what was done in the last year. */
const auditDaysMin = 365;
const dayMs = 24 * 3_600_000;

/** Whether history may be removed after so many days. */
export function isRetentionDays(days: number): boolean {
  return Number.isInteger(days) && days >= 1 && days <= retentionDaysMax;
}

/** Whether one call may retry so many deliveries. */
export function isRetryLimit(limit: number): boolean {
  return Number.isInteger(limit) && limit >= 1 && limit <= retryStuckMax;
}

/** The instants before which history and audit entries go when history is kept for so many days. */
export function retentionInstants(now: Date, days: number): { olderThan: Date; auditOlderThan: Date } {
  return {
    olderThan: new Date(now.getTime() - days * dayMs),
    auditOlderThan: new Date(now.getTime() - Math.max(days, auditDaysMin) * dayMs),
  };
}
