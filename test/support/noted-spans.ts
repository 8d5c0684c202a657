import { findTraceParent } from '../../src/domain/trace-parent.ts';
import type { TraceParent } from '../../src/domain/trace-parent.ts';
import type { SpanEnd, SpanStart, Tracer } from '../../src/tracing/tracer.ts';

/** A tracer whose spans can be looked at. */
export interface NotedSpans extends Tracer {
  spans: { start: SpanStart; ends: SpanEnd[] }[];
}

/** Creates a tracer that notes its spans, all of which are at one place; of each the first end counts. */
export function noteSpans(place: TraceParent): NotedSpans {
  const spans: NotedSpans['spans'] = [];
  return {
    spans,
    start(start) {
      const ends: SpanEnd[] = [];
      spans.push({ start, ends });
      return { traceParent: place, end: (end) => void (ends.length === 0 && ends.push(end)) };
    },
  };
}

/** A place in a trace. Throws when the text is none. */
export function placeOf(text: string): TraceParent {
  const place = findTraceParent(text);
  if (place === null) throw new Error(`${text} is no traceparent`);
  return place;
}
