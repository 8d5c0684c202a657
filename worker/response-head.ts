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
 * such header or it is neither seconds nor an HTTP date. Source: RFC 9110 §10.2.3 and §5.6.7.
 */
export function retryAfterMsOf(headers: IncomingHttpHeaders, now: Date): number | null {
  const text = headers['retry-after']?.trim();
  if (text === undefined) return null;
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1000;
  const at = httpDatePattern.test(text) ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : Math.max(0, at - now.getTime());
}

const httpDatePattern = /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? .*GMT$/;

/** What the receiver asks for with its `webhook-delivery` header. */
export function receiverControlOf(headers: IncomingHttpHeaders): SendResult['receiverControl'] {
  const header = headers['webhook-delivery'];
  if (typeof header !== 'string') return null;
  const control = header.trim().toLowerCase();
  return control === 'disable' || control === 'abort-message' ? control : null;
}
