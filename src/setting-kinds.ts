import { isIP } from 'node:net';
import { z } from 'zod';
import { parseCidrs } from './domain/address-policy.ts';
import { parseEncryptionKeys } from './encryption-key.ts';
import { parseExportHeaders } from './tracing/tracing-settings.ts';
import { isRetrySchedule } from './domain/retry-schedule.ts';
import { Secret } from './secret.ts';

// What a setting may be. src/config.ts says which setting is what.

/** A text that `parse` turns into a value, or into null when it is not what `allowed` says. */
export function text<Value>(allowed: string, parse: (given: string) => Value | null) {
  return z.string().transform((given, context): Value => {
    const value = parse(given);
    if (value !== null) return value;
    context.addIssue({ code: 'custom', message: allowed });
    return z.NEVER;
  });
}

/** A number, whole or not. */
export function number(min: number, max: number, unit: string) {
  return text(`a number from ${min} to ${max}${unit}`, (given) => {
    const value = /^\d+(\.\d+)?$/.test(given) ? Number(given) : Number.NaN;
    return value >= min && value <= max ? value : null;
  });
}

/** A whole number. */
export function wholeNumber(min: number, max: number) {
  return text(`a whole number from ${min} to ${max}`, (given) => {
    const value = /^\d+$/.test(given) ? Number(given) : Number.NaN;
    return value >= min && value <= max ? value : null;
  });
}

/** An address of one of the schemes, which may hold credentials. */
export function url(schemes: readonly string[]) {
  const words = schemes.map((scheme) => `${scheme}://…`).join(' or ');
  return text(`a URL ${words}`, (given) =>
    URL.canParse(given) && schemes.includes(new URL(given).protocol.slice(0, -1)) ? new Secret(given) : null,
  );
}

/** Where a Redis is. The path is the number of a database, or nothing. */
export const redisUrl = text(
  'a URL redis://… or rediss://…, with nothing after the port but the number of a database',
  (given) => {
    const isRedis = URL.canParse(given) && ['redis:', 'rediss:'].includes(new URL(given).protocol);
    return isRedis && /^(\/\d*)?$/.test(new URL(given).pathname) ? new Secret(given) : null;
  },
);

/** A yes or no. */
export const trueOrFalse = text('true or false', (given) =>
  given === 'true' ? true : given === 'false' ? false : null,
);
/** Whatever was given. */
export const anyText = text('a text', (given) => given);
/** A credential that a header can carry: a line break at the end of a file with it would match no call. */
export const headerText = text('at most 1024 visible ASCII characters without blanks', (given) =>
  /^[\x21-\x7e]{1,1024}$/.test(given) ? new Secret(given) : null,
);
/** Keys that encrypt secrets at rest. */
export const encryptionKeys = text(
  '`id:key` pairs joined by commas, each id once, each key 32 bytes in base64',
  (given) => {
    const keys = parseEncryptionKeys(given);
    return keys === null ? null : new Secret(keys);
  },
);

/** Headers for a collector of traces. */
export const exportHeaders = text('`name=value` pairs joined by commas, values percent-encoded', (given) => {
  const headers = parseExportHeaders(given);
  return headers === null ? null : new Secret(headers);
});

/** Of pino, the most severe first. */
export const logLevels = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'];

/** An address or a name; null when it is neither. RFC 1123, section 2.1; a name that ends in a number would be read as an address, and is none. */
export function host(given: string): string | null {
  const isName = given.length <= 253 && /^([a-z\d]([a-z\d-]{0,61}[a-z\d])?(\.(?!$)|\.?$))+$/i.test(given);
  return isIP(given) !== 0 || (isName && !/(^|\.)\d+\.?$/.test(given)) ? given : null;
}

/** Ranges of addresses joined by commas; null when it is not that. */
export function cidrs(given: string): readonly string[] | null {
  const ranges = given.split(',').map((range) => range.trim());
  try {
    parseCidrs(ranges);
    return ranges;
  } catch {
    return null; // Not a range; the message says what is.
  }
}

/** Waits in seconds joined by commas; null when it is not that. */
export function waits(given: string): readonly number[] | null {
  const parts = given.split(',').map((part) => part.trim());
  if (!parts.every((part) => /^\d+(\.\d+)?$/.test(part))) return null;
  const seconds = parts.map(Number);
  return isRetrySchedule(seconds) ? seconds : null;
}
