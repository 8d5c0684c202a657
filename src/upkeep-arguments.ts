import { isRetentionDays, isRetryLimit, retentionDaysMax, retryStuckMax } from './domain/upkeep.ts';

/** Reads `--days`; without it the deployment's retention holds. Throws one sentence that names the option and its value. */
export function parseDays(text: string | undefined, retentionDays: number | null): number {
  const days = text === undefined ? retentionDays : wholeNumber(text);
  if (days === null)
    throw new Error('--days must be given: WEBHOOK_RETENTION_DAYS is 0, which keeps history for ever.');
  if (isRetentionDays(days)) return days;
  throw new Error(`--days ${JSON.stringify(text)} must be a whole number from 1 to ${retentionDaysMax}.`);
}

/** Reads `--limit`, by default the most there is. Throws one sentence that names the option and its value. */
export function parseLimit(text: string | undefined): number {
  const limit = text === undefined ? retryStuckMax : wholeNumber(text);
  if (isRetryLimit(limit)) return limit;
  throw new Error(`--limit ${JSON.stringify(text)} must be a whole number from 1 to ${retryStuckMax}.`);
}

function wholeNumber(text: string): number {
  return /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
}
