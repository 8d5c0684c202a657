import { traceIdOf } from '../domain/trace-parent.ts';
import type { TraceParent } from '../domain/trace-parent.ts';
import type { Span, SpanEnd, Tracer } from '../tracing/tracer.ts';

/**
 * The trace that a GraphQL operation is part of: its caller's when that says one. With a tracer it is a span from the
 * request to the answer, or to the beginning of a subscription, which may last for days.
 */
export class OperationTrace {
  /** Where the caller is in a trace; null when that is not known. */
  caller: TraceParent | null;
  readonly #tracer: Tracer | null;
  readonly #startedAtMs = performance.now();
  #span: Span | null = null;

  constructor(tracer: Tracer | null, caller: TraceParent | null = null) {
    this.#tracer = tracer;
    this.caller = caller;
  }

  /** Where the operation is in a trace, for what follows from it; without a tracer that is where its caller is. */
  get place(): TraceParent | null {
    // Begun when somebody asks: of a socket's messages most are no operation.
    this.#span ??= this.#begin();
    return this.#span?.traceParent ?? this.caller;
  }

  /** Null when it is part of none. */
  get traceId(): string | null {
    const { place } = this;
    return place === null ? null : traceIdOf(place);
  }

  /** Whether it is recorded as a span. */
  get isRecorded(): boolean {
    return this.#tracer !== null;
  }

  /** Ends the span. Harmless when it has ended. */
  end(end: SpanEnd): void {
    this.#span ??= this.#begin();
    this.#span?.end(end);
  }

  #begin(): Span | null {
    if (this.#tracer === null) return null;
    const { caller: parent } = this;
    const start = { name: 'GraphQL Operation', kind: 'SERVER', parent, link: null, attributes: {} } as const;
    return this.#tracer.start({ ...start, startedAtMs: this.#startedAtMs });
  }
}
