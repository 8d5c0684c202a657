import { once } from 'node:events';
import { answerBroken, answerError, beginAnswer, notFound, pathOf } from '../operations/answer.ts';
import { createOperationsRoutes } from '../operations/operations-routes.ts';
import { parseAuthorization } from './credentials.ts';
import { findTraceParent } from '../domain/trace-parent.ts';
import { createEventStream } from './event-stream.ts';
import { changeCaller, createOperationScope, runOperation } from './operation-scope.ts';
import { OperationTrace } from './operation-trace.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AdminRoute } from './admin-routes.ts';
import type { Tracer } from '../tracing/tracer.ts';
import type { ConnectionWatch } from './connection-watch.ts';
import type { OperationsOptions } from '../operations/operations-routes.ts';
import type { CrossOrigin } from './cross-origin.ts';
import type { GatewayMeter } from './gateway-meter.ts';
import type { GraphqlPipeline } from './graphql-pipeline.ts';
import type { GatewayLimits } from './limits.ts';
import type { OperationScope } from './operation-scope.ts';

/** The HTTP side: `/graphql`, the administrator's routes, and what those who run it ask (src/operations). */
export interface HttpEdge {
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** From now on `/ready` says no and each answer closes its connection, so that clients turn to another gateway. */
  retire(): void;
  /** After `retire`: resolves when all requests are answered, those that still come too, or at `deadline`. Event streams are cut. */
  stop(deadline: Promise<void>): Promise<void>;
}

export interface HttpEdgeOptions extends Omit<OperationsOptions, 'readyCheckMs'> {
  pipeline: GraphqlPipeline;
  graphiql: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  /** The administrator's routes by path; what they do ends early when the signal aborts. */
  adminRoutes: (stopSignal: AbortSignal) => Record<string, AdminRoute>;
  watch: ConnectionWatch;
  crossOrigin: CrossOrigin;
  limits: GatewayLimits;
  tracer: Tracer | null;
  meter: GatewayMeter | undefined;
}

interface State {
  phase: 'serving' | 'retired' | 'stopping';
  readonly answers: Map<ServerResponse, Promise<unknown>>;
  readonly streams: Set<ServerResponse>;
}

type Route = (request: IncomingMessage, response: ServerResponse, requestId: string) => Promise<void>;

/** The path of GraphQL on every transport. */
export const graphqlPath = '/graphql';

/** Headers that no other site can make a browser send unasked. */
const preflightedHeaders = [
  'authorization',
  'x-requested-with',
  'graphql-require-preflight',
  'apollo-require-preflight',
];

/** Creates the HTTP side's request handler. */
export function createHttpEdge(options: HttpEdgeOptions): HttpEdge {
  const stopController = new AbortController();
  const state: State = { phase: 'serving', answers: new Map(), streams: new Set() };
  const routes: Record<string, Route> = {
    ...options.adminRoutes(stopController.signal),
    '/': async (request, response) => home(request, response),
    ...createOperationsRoutes({ ...options, readyCheckMs: options.limits.readyCheckMs }, () =>
      state.phase === 'serving' ? 'serving' : 'stopping',
    ),
    [graphqlPath]: async (...args) => await graphql(...args, { state, options }),
  };
  return {
    handle(request, response) {
      if (state.phase === 'stopping' && asksForStream(request)) {
        response.destroy(); // it would be cut a moment later
        return;
      }
      const requestId = beginAnswer(request, response);
      if (state.phase !== 'serving') response.setHeader('connection', 'close');
      const path = pathOf(request);
      const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
      cutWhenStalled(response, options.limits.answerStalledMs);
      const closed = once(response, 'close');
      const handled = (route ?? notFound)(request, response, requestId).catch((error: unknown) => {
        options.logger.error({ err: error, requestId }, 'an http request could not be handled');
        answerBroken(response);
      });
      const answered = Promise.all([handled, closed]).finally(() => state.answers.delete(response));
      state.answers.set(response, answered);
    },
    retire() {
      state.phase = 'retired';
      for (const response of state.answers.keys()) {
        if (!response.headersSent) response.setHeader('connection', 'close');
      }
    },
    async stop(deadline) {
      state.phase = 'stopping';
      stopController.abort();
      for (const stream of state.streams) stream.destroy();
      const signal = { late: false };
      const late = deadline.then(() => (signal.late = true));
      while (state.answers.size > 0 && !signal.late) {
        await Promise.race([Promise.allSettled(state.answers.values()), late]);
      }
    },
  };
}

/** An answer that nobody takes would stay in memory. Whatever the kernel takes of one, be it a part of a write, begins the time anew. */
function cutWhenStalled(response: ServerResponse, stalledMs: number): void {
  response.setTimeout(stalledMs, () => {
    if ((response.socket?.writableLength ?? 0) > 0) response.destroy();
  });
}

async function graphql(
  request: IncomingMessage,
  response: ServerResponse,
  requestId: string,
  { state, options }: { state: State; options: HttpEdgeOptions },
): Promise<void> {
  if (options.crossOrigin.answer(request, response)) return;
  const accept = request.headers.accept ?? '';
  const reads = request.method === 'GET' || request.method === 'HEAD';
  if (reads && accept.includes('text/html')) return await options.graphiql(request, response);
  const refusal = findRefusal(request);
  if (refusal !== null) return answerError(response, refusal.status, 'BAD_USER_INPUT', refusal.message);
  const streams = asksForStream(request);
  const trace = new OperationTrace(options.tracer, findTraceParent(request.headers['traceparent']));
  const scope = createOperationScope(requestId, streams ? 'sse' : 'http', null, trace);
  const unwatch = streams ? watchStream(request, response, { scope, state, options }) : null;
  await runOperation(scope, options, async () => {
    // Yoga's own promise does not settle when the reader goes away in the middle; the response's end always comes.
    const closed = once(response, 'close');
    void pipelineAnswer(options, request, response);
    await closed;
  });
  unwatch?.();
}

function asksForStream({ headers }: IncomingMessage): boolean {
  return (headers.accept ?? '').includes('text/event-stream');
}

async function pipelineAnswer(
  { pipeline, logger }: HttpEdgeOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    await pipeline(request, response);
  } catch (error) {
    logger.error({ err: error }, 'a graphql answer could not be written');
    response.destroy();
  }
}

/** An event stream lives as long as a WebSocket does, so it is looked after in the same way. Yoga sends its pings where it answers. */
function watchStream(
  request: IncomingMessage,
  response: ServerResponse,
  { scope, state, options }: { scope: OperationScope; state: State; options: HttpEdgeOptions },
): () => void {
  const credentials = parseAuthorization(request.headers.authorization);
  const lastEventId = request.headers['last-event-id'];
  const stream = createEventStream(response);
  scope.lastEventId = typeof lastEventId === 'string' && lastEventId !== '' ? lastEventId : null;
  scope.serveEvents = stream.serve;
  const cut = (): void => void response.destroy();
  state.streams.add(response);
  const closed = options.meter?.connectionOpened('sse');
  const unwatch = options.watch.add({
    socket: request.socket,
    key: credentials.kind === 'key' ? credentials.key : null,
    get caller() {
      return scope.caller;
    },
    onCaller: (caller) => changeCaller(scope, caller),
    onForbidden: cut,
    onStalled: cut,
    onPing: stream.beat,
  });
  return () => {
    unwatch();
    closed?.();
    state.streams.delete(response);
  };
}

/** Says why a request is refused that another site may have made a browser send (cross-site request forgery). */
function findRefusal(request: IncomingMessage): { status: number; message: string } | null {
  if (request.method === 'POST') {
    const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase();
    if (type === 'application/json') return null;
    return { status: 415, message: 'POST to /graphql takes "content-type: application/json".' };
  }
  if (request.method !== 'GET' || preflightedHeaders.some((name) => request.headers[name] !== undefined)) return null;
  if (request.headers['content-type'] === 'application/json') return null;
  return { status: 400, message: `GET of /graphql needs one of these headers: ${preflightedHeaders.join(', ')}.` };
}

function home(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers.accept?.includes('text/html')) response.writeHead(302, { location: graphqlPath }).end();
  else answerError(response, 404, 'NOT_FOUND', `There is nothing at /: GraphQL is at ${graphqlPath}.`);
}
