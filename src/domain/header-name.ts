/** RFC 9110 §5.6.2 */
const tokenPattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}$/;

const reservedNames: ReadonlySet<string> = new Set([
  'accept-encoding',
  'connection',
  'content-encoding',
  'content-length',
  'content-type',
  'date',
  'expect',
  'host',
  'keep-alive',
  'te',
  'traceparent',
  'tracestate',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'user-agent',
]);

const reservedPattern = /^(?:webhook-|x-posthorn-|proxy-|x-(?:.+-)?signature$)/;

/** Whether the text can name an HTTP header: 1 to 256 characters of a token. Source: RFC 9110 §5.1. */
export function isHeaderName(text: string): boolean {
  return tokenPattern.test(text);
}

/** Whether Posthorn or the connection says what a header of this name holds, in whatever case, so that no webhook may. */
export function isReservedHeaderName(name: string): boolean {
  const lower = name.toLowerCase();
  return reservedNames.has(lower) || reservedPattern.test(lower);
}
