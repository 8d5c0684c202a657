import { untilFound } from './e2e-client.ts';
import { startReceiver } from './receiver.ts';
import type { Receiver, ReceiverAnswer } from './receiver.ts';

// An OpenTelemetry collector on loopback: it takes OTLP over HTTP with JSON and keeps what came.

/** A span as it came. */
export interface CollectedSpan {
  traceId: string;
  spanId: string;
  /** Empty when it begins its trace. */
  parentSpanId: string;
  name: string;
  /** 2: SERVER, 3: CLIENT. */
  kind: number;
  durationMs: number;
  attributes: Record<string, unknown>;
  links: { traceId: string; spanId: string }[];
  /** 0: unset, 2: error. */
  statusCode: number;
  /** Of the process that sent it. */
  resource: Record<string, unknown>;
}

export interface Collector extends AsyncDisposable {
  /** For OTEL_EXPORTER_OTLP_ENDPOINT. */
  url: string;
  receiver: Receiver;
  spans(): CollectedSpan[];
  /** The first span that `isIt` is true of, as soon as it is there. */
  untilSpan(what: string, isIt: (span: CollectedSpan) => boolean): Promise<CollectedSpan>;
}

interface Attribute {
  key: string;
  value: Record<string, unknown>;
}

interface Exported {
  resourceSpans: {
    resource: { attributes: Attribute[] };
    scopeSpans: { spans: ExportedSpan[] }[];
  }[];
}

interface ExportedSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: Attribute[];
  links?: { traceId: string; spanId: string }[];
  status: { code: number };
}

const taken: ReceiverAnswer = { headers: { 'content-type': 'application/json' }, body: '{}' };

/** Starts a collector that answers as it is told; takes everything where nothing is said. */
export async function startCollector(answer: () => ReceiverAnswer = () => taken): Promise<Collector> {
  const receiver = await startReceiver(answer);
  const spans = (): CollectedSpan[] => receiver.requests.flatMap(({ body }) => spansIn(JSON.parse(body) as Exported));
  return {
    url: receiver.url,
    receiver,
    spans,
    untilSpan: async (what, isIt) => await untilFound(what, async () => spans().find(isIt) ?? null),
    [Symbol.asyncDispose]: async () => await receiver[Symbol.asyncDispose](),
  };
}

function spansIn({ resourceSpans }: Exported): CollectedSpan[] {
  return resourceSpans.flatMap(({ resource, scopeSpans }) =>
    scopeSpans.flatMap((scope) => scope.spans.map((span) => collectedSpan(span, valuesOf(resource.attributes)))),
  );
}

function collectedSpan(span: ExportedSpan, resource: Record<string, unknown>): CollectedSpan {
  const { traceId, spanId, parentSpanId = '', name, kind, links = [], status } = span;
  return {
    traceId,
    spanId,
    parentSpanId,
    name,
    kind,
    durationMs: Number(BigInt(span.endTimeUnixNano) - BigInt(span.startTimeUnixNano)) / 1e6,
    attributes: valuesOf(span.attributes),
    links: links.map((link) => ({ traceId: link.traceId, spanId: link.spanId })),
    statusCode: status.code,
    resource,
  };
}

function valuesOf(attributes: readonly Attribute[]): Record<string, unknown> {
  return Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
}
