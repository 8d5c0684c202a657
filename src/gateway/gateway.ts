import { once } from 'node:events';
import { createServer } from 'node:http';
import { setTimeout as after } from 'node:timers/promises';
import { listen, localUrl } from '../operations/listen.ts';
import { createAdminRoutes } from './admin-routes.ts';
import { createAuthentication } from './authentication.ts';
import { startConnectionWatch } from './connection-watch.ts';
import { createCrossOrigin } from './cross-origin.ts';
import { createGraphiql } from './graphiql.ts';
import { createGraphqlPipeline } from './graphql-pipeline.ts';
import { createHttpEdge, graphqlPath } from './http-edge.ts';
import { gatewayLimits } from './limits.ts';
import { createMaskError } from './mask-error.ts';
import { createOperationRate } from './operation-rate.ts';
import { SharedSubscriptions } from './shared-subscriptions.ts';
import { createWebsocketEdge } from './websocket-edge.ts';
import type { GraphQLSchema } from 'graphql';
import type { Server, ServerOptions } from 'node:http';
import type { Duplex } from 'node:stream';
import type { SchemaContext } from '../../schema/context.ts';
import type { AllowedOrigins } from '../domain/allowed-origins.ts';
import type { ApiKeyId } from '../domain/ids.ts';
import type { OperationsOptions, ServedMetrics } from '../operations/operations-routes.ts';
import type { SpendingLimit } from '../rate-limit/rate-limit.ts';
import type { Secret } from '../secret.ts';
import type { Tracer } from '../tracing/tracer.ts';
import type { Authenticate } from './authentication.ts';
import type { GatewayMeter } from './gateway-meter.ts';
import type { HttpEdge } from './http-edge.ts';
import type { GatewayLimits } from './limits.ts';
import type { PersistedOperations } from './persisted-operations.ts';
import type { WebsocketEdge } from './websocket-edge.ts';

// src/gateway: the HTTP and WebSocket edge of the GraphQL API. Invariant: an operation goes through one pipeline
// (limits, validation, masking, context) whichever transport brought it, runs in one operation scope, and writes one log
// line; whatever waits for a reader is bounded. The composition root starts it and gives it everything that it calls.

export interface GatewayOptions extends Omit<OperationsOptions, 'readyCheckMs' | 'metrics'> {
  schema: GraphQLSchema;
  host: string;
  /** 0 takes any free port. */
  port: number;
  /** Gives who holds a key, or null. Asked once per HTTP request and socket, and again while a socket lives. */
  authenticate: Authenticate;
  /** The administrator's; null: there is none. */
  adminKey: Secret<string> | null;
  createContext: (caller: SchemaContext['caller'], requestId: string) => SchemaContext;
  /** Absent: none can be read here. */
  metrics?: ServedMetrics;
  /** Told of what goes on here. */
  meter?: GatewayMeter;
  limits?: Partial<GatewayLimits>;
  /** What operations cost is counted per API key; null: they are not charged for. */
  rate: { limit: SpendingLimit; pointsPerMinute: number } | null;
  /** Whether the schema can be asked for; GraphiQL needs it. */
  introspection: boolean;
  /** The only operations that are executed; null: any. */
  persistedOperations: PersistedOperations | null;
  /** Sites beside our own that may use the API from a browser. */
  allowedOrigins: AllowedOrigins;
  /** Null or absent: operations are not recorded as spans. */
  tracer?: Tracer | null;
  /** How long stopping serves on while `/ready` says no, in milliseconds, default 0. */
  stopDelayMs?: number;
}

/** A listening gateway. Disposing it answers what is under way, for at most 15 s, and closes sockets with 1001. */
export interface Gateway extends AsyncDisposable {
  /** As in `http://127.0.0.1:4000`. */
  url: string;
  port: number;
  /** The operation under way has revoked the key: its sockets are closed and its event streams cut. */
  revoke(apiKeyId: ApiKeyId): void;
}

/** Of a head in bytes: a GET's query string is in it. */
const headBytesMax = 16 * 1024;

/** Starts the edge. Rejects with one sentence that names host and port when it cannot listen there. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { logger } = options;
  const limits = limitsOf(options);
  const maskError = createMaskError(logger);
  const authentication = createAuthentication({ ...options, limits });
  const charge = options.rate && createOperationRate(options.rate.limit, options.rate.pointsPerMinute);
  const crossOrigin = createCrossOrigin(options.allowedOrigins);
  const subscriptions = new SharedSubscriptions({ ...options, maskError });
  const pipeline = createGraphqlPipeline({ ...options, authentication, charge, maskError, limits, subscriptions });
  const { meter, persistedOperations, checks, metrics = null, tracer = null } = options;
  const watch = startConnectionWatch({ ...options, limits, meter });
  const shared = { pipeline, watch, limits, logger, meter, crossOrigin, persistedOperations, tracer };
  const http = createHttpEdge({
    ...shared,
    graphiql: createGraphiql(),
    checks,
    metrics,
    adminRoutes: (stopSignal) => createAdminRoutes({ ...options, authentication, stopSignal }),
  });
  const websocket = createWebsocketEdge({ ...shared, maskError, authentication });

  const server = createServer(httpLimits(limits), (request, response) => http.handle(request, response));
  server.on('upgrade', (request, socket, head) => {
    socket.on('error', (error) => logger.debug({ err: error }, 'a connection broke'));
    if (request.url?.split('?', 1)[0] !== graphqlPath) refuseUpgrade(socket, '404 Not Found');
    else if (!crossOrigin.mayUpgrade(request)) refuseUpgrade(socket, '403 Forbidden');
    else if (!server.listening) refuseUpgrade(socket, '503 Service Unavailable');
    else websocket.upgrade(request, socket, head);
  });
  try {
    const port = await listen(server, options);
    const { stopDelayMs = 0 } = options;
    const stop = async (): Promise<void> => {
      http.retire();
      if (stopDelayMs > 0) await after(stopDelayMs);
      await stopServing({ server, http, websocket }, limits.stopMs);
    };
    let stopped: Promise<void> | null = null;
    return {
      port,
      revoke: (apiKeyId) => watch.revoke(apiKeyId),
      url: localUrl({ host: options.host, port }),
      [Symbol.asyncDispose]: async () => await (stopped ??= stop().finally(() => watch[Symbol.dispose]())),
    };
  } catch (error) {
    watch[Symbol.dispose]();
    throw error;
  }
}

/** An operation that costs more than a minute's points could never be paid for: it is too complex then. */
function limitsOf({ limits, rate }: GatewayOptions): GatewayLimits {
  const given = { ...gatewayLimits, ...limits };
  return { ...given, costMax: Math.min(given.costMax, rate?.pointsPerMinute ?? Infinity) };
}

function httpLimits({ requestHeadMs, requestMs }: GatewayLimits): ServerOptions {
  return {
    headersTimeout: requestHeadMs,
    requestTimeout: requestMs,
    connectionsCheckingInterval: Math.ceil(requestHeadMs / 2),
    keepAliveTimeout: 15_000,
    maxHeaderSize: headBytesMax,
  };
}

function refuseUpgrade(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
}

/** Nothing new → answers under way → sockets 1001 → closed. */
async function stopServing(
  { server, http, websocket }: { server: Server; http: HttpEdge; websocket: WebsocketEdge },
  stopMs: number,
): Promise<void> {
  const { promise: deadline, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, stopMs);
  const closed = once(server, 'close');
  server.close();
  await Promise.all([http.stop(deadline), websocket.stop(deadline)]);
  clearTimeout(timer);
  server.closeAllConnections();
  await closed;
}
