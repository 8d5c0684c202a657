import type { IncomingHttpHeaders } from 'node:http';
import type { SendResult } from '../src/domain/delivery.ts';
import { storableText } from './response-text.ts';

const headersMax = 32;
const headerValueBytesMax = 1024;
const headerNameBytesMax = 256;

/** The first 32 headers of a response, values clipped to 1 KiB; a repeated header gives one entry per value. */
export function storedHeaders(headers: IncomingHttpHeaders): { name: string; value: string }[] {
  const stored: { name: string; value: string }[] = [];
  for (const name in headers) {
    const values = headers[name];
    if (values === undefined) continue;
    for (const value of typeof values === 'string' ? [values] : values) {
      if (stored.length >= headersMax) return stored;
      stored.push({
        name: storableText(name, headerNameBytesMax),
        value: storableText(value, headerValueBytesMax),
      });
    }
  }
  return stored;
}

/**
 * The wait that `Retry-After` asks for, in milliseconds from `now`: 0 for a date that has passed, null when there is no
 * such header or it is neither seconds nor an HTTP date. Of a header that is repeated the first counts. Source: RFC 9110
 * §10.2.3 and §5.6.7.
 */
export function retryAfterMsOf(headers: IncomingHttpHeaders, now: Date): number | null {
  const text = firstOf(headers, 'retry-after')?.trim();
  if (text === undefined) return null;
  // However many digits there are, they are seconds; so many are endless, and a number all the same.
  if (/^\d+$/.test(text)) return Math.min(Number(text) * 1000, Number.MAX_SAFE_INTEGER);
  const date = asctimePattern.test(text) ? `${text} GMT` : text;
  const at = httpDatePattern.test(date) ? Date.parse(date) : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, at - now.getTime());
}

const httpDatePattern = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*GMT$/;
/** The one form of HTTP date that does not say that it is in GMT, which it is. */
const asctimePattern = /\d\d:\d\d:\d\d \d{4}$/;

/** What the receiver asks for with its `webhook-delivery` header, the first one when it is repeated. */
export function receiverControlOf(headers: IncomingHttpHeaders): SendResult['receiverControl'] {
  const control = firstOf(headers, 'webhook-delivery')?.trim().toLowerCase();
  return control === 'disable' || control === 'abort-message' ? control : null;
}

/** A header's value. Unlike what its type says, undici gives a list for any header that is repeated. */
function firstOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
}
