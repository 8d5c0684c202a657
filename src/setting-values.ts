import { isIP } from 'node:net';
import { parseCidrs } from './domain/address-policy.ts';
import { isRetrySchedule } from './domain/retry-schedule.ts';

// What the texts of single settings mean, each read or null; src/config.ts says what was wrong.

/** The host as given, or null. A name that ends in a number would be read as an address, and is none. Source: RFC 1123 §2.1. */
export function parseHost(given: string): string | null {
  const isName = given.length <= 253 && /^([a-z\d]([a-z\d-]{0,61}[a-z\d])?(\.(?!$)|\.?$))+$/i.test(given);
  return isIP(given) !== 0 || (isName && !/(^|\.)\d+\.?$/.test(given)) ? given : null;
}

/** Address ranges joined by commas, or null. */
export function parseRanges(given: string): readonly string[] | null {
  const ranges = given.split(',').map((range) => range.trim());
  try {
    parseCidrs(ranges);
    return ranges;
  } catch {
    return null; // Not a range; the message says what is.
  }
}

/** The waits of a retry schedule in seconds, joined by commas, or null. */
export function parseWaits(given: string): readonly number[] | null {
  const parts = given.split(',').map((part) => part.trim());
  if (!parts.every((part) => /^\d+(\.\d+)?$/.test(part))) return null;
  const seconds = parts.map(Number);
  return isRetrySchedule(seconds) ? seconds : null;
}
