/** A place in a trace, as the header `traceparent` says it: `00-<trace id>-<span id>-<flags>`, 55 characters. */
export type TraceParent = string & { readonly brand: 'TraceParent' };

/** What a traceparent is made of. */
export interface TraceParts {
  /** 32 lower-case hexadecimal digits, not all of them zero. */
  traceId: string;
  /** 16 of them, not all of them zero. */
  spanId: string;
  /** Bit 0: the caller records this trace. Bit 1: the trace id is random. */
  flags: number;
}

// Version 00 ends with its flags; a later one may go on behind a hyphen, and ff is none. Ids of zeros only are none.
const shape =
  /^(?:00(?=.{53}$)|(?!00|ff)[0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-|$)/;
/** The flags that version 00 knows; others are not passed on. */
const knownFlags = 0b11;

/**
 * Reads a traceparent as it came; null when it is none, which is then to be treated as absent. A later version is read as
 * far as this one knows it, and becomes 00. Source: W3C Trace Context Level 2, “Traceparent Header” and “Versioning of traceparent”.
 */
export function findTraceParent(given: unknown): TraceParent | null {
  const parts = typeof given === 'string' ? matchParts(given) : null;
  return parts === null ? null : formatTraceParent(parts);
}

/** What the traceparent is made of. */
export function partsOf(traceParent: TraceParent): TraceParts {
  const parts = matchParts(traceParent);
  if (parts === null) throw new Error(`${traceParent} is no traceparent`);
  return parts;
}

/** The trace that the traceparent is a place in. */
export function traceIdOf(traceParent: TraceParent): string {
  return partsOf(traceParent).traceId;
}

/** The traceparent that its parts make. */
export function formatTraceParent({ traceId, spanId, flags }: TraceParts): TraceParent {
  const text = `00-${traceId}-${spanId}-${(flags & knownFlags).toString(16).padStart(2, '0')}`;
  if (!isTraceParent(text)) throw new Error(`${text} is no traceparent`);
  return text;
}

/** Another place of the same trace, under the same flags. `spanId`: as in TraceParts. */
export function placeInTraceOf(traceParent: TraceParent, spanId: string): TraceParent {
  return formatTraceParent({ ...partsOf(traceParent), spanId });
}

function isTraceParent(text: string): text is TraceParent {
  return matchParts(text) !== null;
}

function matchParts(text: string): TraceParts | null {
  const [, traceId, spanId, flags] = shape.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return null;
  return { traceId, spanId, flags: Number.parseInt(flags, 16) & knownFlags };
}
