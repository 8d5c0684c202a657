import { Counter, Gauge, Histogram } from 'prom-client';
import { childrenOf } from './children.ts';
import type { Registry } from 'prom-client';
import type { EndedOperation, GatewayMeter } from '../gateway/gateway-meter.ts';

/** The codes of the API; whatever else a library says is OTHER, so that nobody can make up labels. */
const codes: ReadonlySet<string> = new Set([
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'NOT_FOUND',
  'BAD_USER_INPUT',
  'RATE_LIMITED',
  'QUERY_TOO_COMPLEX',
  'CURSOR_EXPIRED',
  'PERSISTED_ONLY',
  'UNAVAILABLE',
  'INTERNAL',
]);
const buckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** Creates the gateway's meter. */
export function createGatewayMeter(registry: Registry): GatewayMeter {
  const countOperation = createOperationCounters(registry);
  const connections = new Gauge({
    name: 'posthorn_connections_open',
    help: 'WebSockets and event streams that are open.',
    labelNames: ['transport'],
    registers: [registry],
  });
  const transports = ['websocket', 'sse'] as const;
  for (const transport of transports) connections.set({ transport }, 0);
  const slowReaders = new Counter({
    name: 'posthorn_slow_readers_closed_total',
    help: 'WebSockets and event streams that were closed because their reader took nothing.',
    registers: [registry],
  });
  return {
    operationEnded: countOperation,
    connectionOpened(transport) {
      connections.inc({ transport });
      return () => connections.dec({ transport });
    },
    slowReaderClosed: () => slowReaders.inc(),
  };
}

function createOperationCounters(registry: Registry): GatewayMeter['operationEnded'] {
  const operations = new Counter({
    name: 'posthorn_graphql_operations_total',
    help: 'GraphQL operations that have ended, by type (none: it could not be told) and the first error code of their answers, or OK.',
    labelNames: ['type', 'transport', 'code'],
    registers: [registry],
  });
  const duration = new Histogram({
    name: 'posthorn_graphql_operation_duration_seconds',
    help: 'How long queries and mutations took, from their request to their answer.',
    labelNames: ['type'],
    buckets,
    registers: [registry],
  });
  const operation = childrenOf((type: string) =>
    childrenOf((transport: EndedOperation['transport']) =>
      childrenOf((code: string) => operations.labels({ type, transport, code })),
    ),
  );
  const durationOf = childrenOf((type: string) => duration.labels({ type }));
  return ({ operationType, transport, errorCodes, durationMs }) => {
    const type: string = operationType ?? 'none';
    operation(type)(transport)(codeOf(errorCodes)).inc();
    // A subscription's is how long somebody watched.
    if (type === 'query' || type === 'mutation') durationOf(type).observe(durationMs / 1000);
  };
}

function codeOf(errorCodes: ReadonlySet<string>): string {
  const [first = 'OK'] = errorCodes;
  return first === 'OK' || codes.has(first) ? first : 'OTHER';
}
