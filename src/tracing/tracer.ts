import type { TraceParent } from '../domain/trace-parent.ts';

// src/tracing: spans, and their way to an OpenTelemetry collector. Invariant: nothing waits for a span, and whatever becomes
// of the collector, what is kept for it is bounded. Gateway and worker know the port in this file only; src/service.ts loads
// what is behind it (otlp-tracer.ts) when an endpoint is configured, and otherwise nothing of OpenTelemetry is loaded.

/** What a span says besides its name. Never a credential, a header, a body, or a URL. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** What is known of a span when it begins. */
export interface SpanStart {
  name: string;
  /** `SERVER`: somebody asked for it and waits. `CLIENT`: a request of ours. */
  kind: 'SERVER' | 'CLIENT';
  /** The span that it is part of, of whichever process; null begins a trace. */
  parent: TraceParent | null;
  /** What it follows from in another trace, which also decides whether it is recorded. */
  link: TraceParent | null;
  attributes: SpanAttributes;
  /** In milliseconds of `performance.now()`. */
  startedAtMs: number;
}

/** What is known of a span when it ends. */
export interface SpanEnd {
  /** Overrides what was said at the start. */
  name?: string;
  attributes: SpanAttributes;
  /** It did not do what it was for. */
  failed: boolean;
}

/** Something that takes time, while it does. */
export interface Span {
  readonly traceParent: TraceParent;
  /** Says that it ends now. Only the first call counts. */
  end(end: SpanEnd): void;
}

/** Begins spans. One that is never ended is never sent. */
export interface Tracer {
  start(start: SpanStart): Span;
}
