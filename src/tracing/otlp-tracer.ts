import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, ParentBasedSampler, TracerProvider } from '@opentelemetry/sdk-trace';
import { formatTraceParent, partsOf } from '../domain/trace-parent.ts';
import { endsWithin } from '../time-limit.ts';
import { createLinkSampler } from './link-sampler.ts';
import { watchExports } from './watch-exports.ts';
import type { Context, SpanContext, Tracer as SdkTracer } from '@opentelemetry/api';
import type { TraceParent } from '../domain/trace-parent.ts';
import type { Secret } from '../secret.ts';
import type { ExportWatch } from './watch-exports.ts';
import type { Span, SpanStart, Tracer } from './tracer.ts';

/** Where spans go, and how many. */
export interface TracingSettings {
  /** The whole address of the collector's traces, as in `http://127.0.0.1:4318/v1/traces`. */
  tracesUrl: Secret<string>;
  /** Sent with every export. */
  headers: Secret<Readonly<Record<string, string>>>;
  serviceName: string;
  /** Of the traces that begin here, from 0 to 1; those that come from outside say themselves whether they are recorded. */
  sampledShare: number;
}

export interface OtlpTracerOptions extends ExportWatch {
  settings: TracingSettings;
  version: string;
  /** Tells the processes of a deployment apart. */
  instanceId: string;
}

/** Spans that wait for the collector, some 2 KB each; what is more is dropped. */
const waitingSpansMax = 8_192;
const exportSpansMax = 512;
const exportEveryMs = 2_000;
/** For one export with its repetitions, and so for the stop: an export that has begun cannot be called off. */
const exportMsMax = 3_000;
/** The longest text of an attribute: an operation's name is its caller's. */
const textLengthMax = 256;

const spanKinds = { SERVER: SpanKind.SERVER, CLIENT: SpanKind.CLIENT } as const satisfies Record<
  SpanStart['kind'],
  SpanKind
>;

/**
 * Starts a tracer that sends what ends to a collector, over OTLP with JSON. A collector that is away costs spans and
 * nothing else. Disposing sends what is left, for at most three seconds.
 */
export function startOtlpTracer(options: OtlpTracerOptions): Tracer & AsyncDisposable {
  const { settings, version, instanceId } = options;
  const connections = createConnections();
  const exporter = new OTLPTraceExporter({
    url: settings.tracesUrl.reveal(),
    headers: { ...settings.headers.reveal() },
    timeoutMillis: exportMsMax,
    httpAgentOptions: connections.agentOf,
  });
  const provider = new TracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({
        'service.name': settings.serviceName,
        'service.version': version,
        'service.instance.id': instanceId,
      }),
    ),
    sampler: new ParentBasedSampler({ root: createLinkSampler(settings.sampledShare) }),
    spanLimits: { attributeValueLengthLimit: textLengthMax },
    spanProcessors: [
      new BatchSpanProcessor({
        exporter: watchExports(exporter, options),
        maxQueueSize: waitingSpansMax,
        maxExportBatchSize: exportSpansMax,
        scheduledDelayMillis: exportEveryMs,
        exportTimeoutMillis: exportMsMax,
      }),
    ],
  });
  const tracer = provider.getTracer('posthorn', version);
  return {
    start: (start) => startSpan(tracer, start),
    [Symbol.asyncDispose]: async () => {
      const flushed = provider.shutdown().catch(() => undefined); // the watch has told of it
      await endsWithin(exportMsMax, flushed);
      connections.cut();
    },
  };
}

function startSpan(tracer: SdkTracer, { name, kind, parent, link, attributes, startedAtMs }: SpanStart): Span {
  const options = {
    kind: spanKinds[kind],
    attributes: { ...attributes },
    startTime: startedAtMs,
    links: link === null ? [] : [{ context: remoteContext(link) }],
  };
  const span = tracer.startSpan(name, options, contextOf(parent));
  const { traceId, spanId, traceFlags } = span.spanContext();
  return {
    traceParent: formatTraceParent({ traceId, spanId, flags: traceFlags }),
    end({ name: finalName, attributes: more, failed }) {
      if (!span.isRecording()) return; // not one of the share, or it has ended
      if (finalName !== undefined) span.updateName(finalName);
      span.setAttributes({ ...more });
      if (failed) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end(performance.now());
    },
  };
}

function contextOf(parent: TraceParent | null): Context {
  return parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, remoteContext(parent));
}

function remoteContext(traceParent: TraceParent): SpanContext {
  const { traceId, spanId, flags } = partsOf(traceParent);
  return { traceId, spanId, traceFlags: flags, isRemote: true };
}

/** The exporter's connections, so that a collector which never ends its answer does not keep the process. */
function createConnections(): { agentOf: (protocol: string) => HttpAgent | HttpsAgent; cut: () => void } {
  let agent: HttpAgent | HttpsAgent | null = null;
  return {
    agentOf: (protocol) => {
      agent ??= protocol === 'https:' ? new HttpsAgent({ keepAlive: true }) : new HttpAgent({ keepAlive: true });
      return agent;
    },
    cut: () => agent?.destroy(),
  };
}
