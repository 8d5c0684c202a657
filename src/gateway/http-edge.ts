import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { parseAuthorization } from './credentials.ts';
import { createEventStream } from './event-stream.ts';
import { changeCaller, createOperationScope, runOperation } from './operation-scope.ts';
import { checkReadiness } from './readiness.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import type { ConnectionWatch } from './connection-watch.ts';
import type { CrossOrigin } from './cross-origin.ts';
import type { GraphqlPipeline } from './graphql-pipeline.ts';
import type { GatewayLimits } from './limits.ts';
import type { OperationScope } from './operation-scope.ts';
import type { ReadinessChecks } from './readiness.ts';

/** The HTTP side: `/graphql`, `/health`, `/ready`. */
export interface HttpEdge {
  handle(request: IncomingMessage, response: ServerResponse): void;
  /** From now on `/ready` says no; resolves when requests under way are answered, or at `deadline`. Event streams are cut. */
  stop(deadline: Promise<void>): Promise<void>;
}

export interface HttpEdgeOptions {
  pipeline: GraphqlPipeline;
  graphiql: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
  checks: ReadinessChecks;
  watch: ConnectionWatch;
  crossOrigin: CrossOrigin;
  limits: GatewayLimits;
  logger: Logger;
}

interface State {
  stopping: boolean;
  readonly answers: Set<Promise<unknown>>;
  readonly streams: Set<ServerResponse>;
}

type Route = (request: IncomingMessage, response: ServerResponse, requestId: string) => Promise<void>;

/** The path of GraphQL on every transport. */
export const graphqlPath = '/graphql';

const requestIdShape = /^[\x21-\x7e]{1,128}$/;
/** Headers that no other site can make a browser send unasked. */
const preflightedHeaders = [
  'authorization',
  'x-requested-with',
  'graphql-require-preflight',
  'apollo-require-preflight',
];

/** Creates the HTTP side's request handler. */
export function createHttpEdge(options: HttpEdgeOptions): HttpEdge {
  const state: State = { stopping: false, answers: new Set(), streams: new Set() };
  const routes: Record<string, Route> = {
    '/': async (request, response) => home(request, response),
    '/health': async (_request, response) => answer(response, 200, { status: 'ok' }),
    '/ready': async (_request, response) => await ready(response, state, options),
    [graphqlPath]: async (...args) => await graphql(...args, { state, options }),
  };
  return {
    handle(request, response) {
      const requestId = findRequestId(request) ?? randomUUID();
      response.setHeader('x-request-id', requestId);
      response.setHeader('x-content-type-options', 'nosniff');
      if (state.stopping) response.setHeader('connection', 'close');
      const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
      const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
      cutWhenStalled(response, options.limits.answerStalledMs);
      const closed = once(response, 'close');
      const handled = (route ?? notFound)(request, response, requestId).catch((error: unknown) => {
        options.logger.error({ err: error, requestId }, 'an http request could not be handled');
        if (response.headersSent) response.destroy();
        else answerError(response, 500, 'INTERNAL', 'Unexpected error');
      });
      const answered = Promise.all([handled, closed]).finally(() => state.answers.delete(answered));
      state.answers.add(answered);
    },
    async stop(deadline) {
      state.stopping = true;
      for (const stream of state.streams) stream.destroy();
      await Promise.race([Promise.allSettled(state.answers), deadline]);
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
  const streams = accept.includes('text/event-stream');
  const scope = createOperationScope(requestId, streams ? 'sse' : 'http', null);
  const unwatch = streams ? watchStream(request, response, { scope, state, options }) : null;
  await runOperation(scope, options.logger, async () => {
    // Yoga's own promise does not settle when the reader goes away in the middle; the response's end always comes.
    const closed = once(response, 'close');
    void pipelineAnswer(options, request, response);
    await closed;
  });
  unwatch?.();
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

async function ready(
  response: ServerResponse,
  state: State,
  { checks, limits, logger }: HttpEdgeOptions,
): Promise<void> {
  if (state.stopping) return answer(response, 503, { status: 'stopping' });
  const results = await checkReadiness(checks, limits.readyCheckMs, logger);
  const isReady = Object.values(results).every((result) => result === 'ok');
  answer(response, isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready', checks: results });
}

function home(request: IncomingMessage, response: ServerResponse): void {
  if (request.headers.accept?.includes('text/html')) response.writeHead(302, { location: graphqlPath }).end();
  else answerError(response, 404, 'NOT_FOUND', `There is nothing at /: GraphQL is at ${graphqlPath}.`);
}

async function notFound(_request: IncomingMessage, response: ServerResponse): Promise<void> {
  answerError(response, 404, 'NOT_FOUND', 'There is nothing here.');
}

function answerError(response: ServerResponse, status: number, code: string, message: string): void {
  const requestId = response.getHeader('x-request-id');
  const extensions = code === 'INTERNAL' ? { code, requestId } : { code };
  answer(response, status, { errors: [{ message, extensions }] });
}

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', 'cache-control': 'no-store' });
  response.end(JSON.stringify(body));
}

function findRequestId(request: IncomingMessage): string | null {
  const given = request.headers['x-request-id'];
  return typeof given === 'string' && requestIdShape.test(given) ? given : null;
}
