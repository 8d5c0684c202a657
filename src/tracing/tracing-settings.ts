import { isHeaderName } from '../domain/header-name.ts';
import { Secret } from '../secret.ts';
import type { TracingSettings } from './otlp-tracer.ts';

/** What OpenTelemetry's own environment variables say; `Secret` because addresses may hold credentials. */
export interface GivenTracing {
  OTEL_EXPORTER_OTLP_ENDPOINT?: Secret<string> | undefined;
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT?: Secret<string> | undefined;
  OTEL_EXPORTER_OTLP_HEADERS?: Secret<Readonly<Record<string, string>>> | undefined;
  OTEL_SERVICE_NAME: string;
  OTEL_TRACES_SAMPLER_ARG: number;
}

/** Where traces go; null when nowhere. Source: OpenTelemetry Protocol Exporter 1.x, "Endpoint URLs for OTLP/HTTP". */
export function tracingSettingsOf(given: GivenTracing): TracingSettings | null {
  const tracesUrl = tracesUrlOf(given);
  if (tracesUrl === null) return null;
  return {
    tracesUrl,
    headers: given.OTEL_EXPORTER_OTLP_HEADERS ?? new Secret({}),
    serviceName: given.OTEL_SERVICE_NAME,
    sampledShare: given.OTEL_TRACES_SAMPLER_ARG,
  };
}

/** Reads `name=value,…` with percent-encoded values; null when it is not that. Source: as above, "Specifying headers". */
export function parseExportHeaders(given: string): Record<string, string> | null {
  const pairs = given.split(',').map((pair) => /^\s*([^=\s]+)\s*=\s*(.*?)\s*$/.exec(pair));
  const headers: Record<string, string> = {};
  for (const pair of pairs) {
    const [, name = '', encoded = ''] = pair ?? [];
    const value = decoded(encoded);
    if (!isHeaderName(name) || value === null) return null;
    headers[name] = value;
  }
  return headers;
}

/** The general address is a collector's, below which traces have a path; the special one is taken as it is. */
function tracesUrlOf(given: GivenTracing): Secret<string> | null {
  if (given.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT !== undefined) return given.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
  if (given.OTEL_EXPORTER_OTLP_ENDPOINT === undefined) return null;
  const url = new URL(given.OTEL_EXPORTER_OTLP_ENDPOINT.reveal());
  url.pathname = `${url.pathname.replace(/\/$/, '')}/v1/traces`;
  return new Secret(url.href);
}

/** What a header can carry; null otherwise. */
function decoded(encoded: string): string | null {
  try {
    const value = decodeURIComponent(encoded);
    return /^[\x20-\x7e]*$/.test(value) ? value : null;
  } catch {
    return null; // Not percent-encoded; the message says what is.
  }
}
