import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { getOperationAST, GraphQLError, OperationTypeNode } from 'graphql';
import { handleProtocols, makeServer } from 'graphql-ws';
import { WebSocketServer } from 'ws';
import { findTraceParent } from '../domain/trace-parent.ts';
import { parseConnectionParams } from './credentials.ts';
import { formatResult } from './format-result.ts';
import { formatError } from './mask-error.ts';
import { currentOperation } from './operation-scope.ts';
import { findPersistedOperation } from './persisted-operations.ts';
import { closeSocket, createSession, openSession, startLive, watchSession } from './websocket-session.ts';
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { ExecutionArgs } from 'graphql';
import type { Context, OperationResult, SubscribePayload } from 'graphql-ws';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { Tracer } from '../tracing/tracer.ts';
import type { Authentication } from './authentication.ts';
import type { ConnectionWatch } from './connection-watch.ts';
import type { GatewayMeter } from './gateway-meter.ts';
import type { GraphqlPipeline } from './graphql-pipeline.ts';
import type { GatewayLimits } from './limits.ts';
import type { PersistedOperations } from './persisted-operations.ts';
import type { Protocol, Session } from './websocket-session.ts';

/** The WebSocket side of `/graphql`: subprotocol graphql-transport-ws. */
export interface WebsocketEdge {
  /** Takes a request that asks to become a WebSocket. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  /**
   * Reads no more messages, lets queries and mutations under way answer until `deadline` resolves, then closes every socket
   * with 1001. So an operation without an answer was not executed, unless it took longer than that.
   * Subscriptions are not completed: a client that sees 1001 connects again and goes on after its cursor.
   */
  stop(deadline: Promise<void>): Promise<void>;
}

export interface WebsocketEdgeOptions {
  pipeline: GraphqlPipeline;
  authentication: Authentication;
  /** The only ones that are executed; null: any. */
  persistedOperations: PersistedOperations | null;
  maskError: (error: unknown) => GraphQLError;
  watch: ConnectionWatch;
  limits: GatewayLimits;
  logger: Logger;
  tracer: Tracer | null;
  meter: GatewayMeter | undefined;
}

type ProtocolContext = Context<Record<string, unknown>, { session: Session }>;
type Executor = (args: ExecutionArgs) => OperationResult;

/** As HTTP's 429; graphql-ws clients do not try again by themselves. */
const tooManyRequests = 4429;
const goingAway = 1001;
/** An operation's id stays in memory for as long as the operation is under way. */
const idLengthMax = 128;
const idTooLong = `The id of an operation may have ${idLengthMax} characters.`;

/** Creates the WebSocket side; sockets come in by `upgrade`. */
export function createWebsocketEdge(options: WebsocketEdgeOptions): WebsocketEdge {
  const { limits, watch, logger, meter, tracer } = options;
  const websockets = new WebSocketServer({
    noServer: true,
    maxPayload: limits.messageBytesMax,
    handleProtocols,
    // A socket has one message read per turn of the event loop, so that many at once do not hold up everybody else.
    allowSynchronousEvents: false,
  });
  const protocol = createProtocol(options);
  const sessions = new Set<Session>();

  const open = (socket: WebSocket, request: IncomingMessage): void => {
    const session = createSession(socket, request);
    sessions.add(session);
    const unwatch = watchSession(session, watch);
    const closed = meter?.connectionOpened('websocket');
    const opened = openSession(session, protocol, { limits, logger, meter, tracer });
    socket.on('error', (error) => logger.debug({ err: error }, 'a websocket broke'));
    socket.once('close', (code, reason) => {
      unwatch();
      closed?.();
      sessions.delete(session);
      opened(code, String(reason)).catch((error: unknown) => {
        logger.error({ err: error }, 'a closed websocket was not cleaned up');
      });
    });
  };

  return {
    upgrade: (request, socket, head) => websockets.handleUpgrade(request, socket, head, open),
    async stop(deadline) {
      await Promise.all(
        [...sessions].map(async (session) => {
          const { socket } = session;
          session.isEnding = true;
          await untilAnswered(session, deadline);
          if (socket.readyState === socket.CLOSED) return;
          const closed = once(socket, 'close');
          closeSocket(socket, goingAway, 'Going away');
          await closed;
        }),
      );
    },
  };
}

function createProtocol(options: WebsocketEdgeOptions): Protocol {
  const executors = new WeakMap<ExecutionArgs, Executor>();
  const execute: Executor = (args) => {
    const executor = executors.get(args);
    if (executor === undefined) throw new Error('this operation was not prepared here');
    return executor(args);
  };
  return makeServer<Record<string, unknown>, { session: Session }>({
    connectionInitWaitTimeout: options.limits.connectionInitMs,
    onConnect: async (context) => await authenticateSession(context, options.authentication),
    onSubscribe: async (context, id, payload) => {
      if (id.length > idLengthMax) return refuse('BAD_USER_INPUT', idTooLong).errors;
      const prepared = await counted(context.extra.session.answers, prepare(context, payload, options));
      if ('errors' in prepared) return prepared.errors;
      executors.set(prepared.args, prepared.execute);
      return prepared.args;
    },
    execute,
    subscribe: execute,
    onOperation: (context, id) => {
      const { live } = currentOperation();
      return live === null ? undefined : startLive(context.extra.session, id, live);
    },
    onNext: (...[, , , , result]) => formatResult(result),
    onError: (_context, _id, _payload, errors) => errors.map(formatError),
  });
}

/** False closes the socket with 4403 Forbidden, unless it was closed before. */
async function authenticateSession(context: ProtocolContext, authentication: Authentication): Promise<boolean> {
  const { session } = context.extra;
  const { socket, request } = session;
  const credentials = parseConnectionParams(context.connectionParams, request.headers.authorization);
  const result = await authentication(credentials, request.socket.remoteAddress ?? '');
  if (result.kind === 'limited') closeSocket(socket, tooManyRequests, 'Too many failed authentications');
  if (result.kind !== 'accepted') return false;
  session.caller = result.caller;
  session.key = credentials.kind === 'key' ? credentials.key : null;
  return true;
}

type Prepared = { args: ExecutionArgs; execute: Executor } | { errors: GraphQLError[] };

/** Takes an operation through the pipeline up to its execution. */
async function prepare(
  context: ProtocolContext,
  payload: SubscribePayload,
  { pipeline, persistedOperations, maskError, limits }: WebsocketEdgeOptions,
): Promise<Prepared> {
  if (Object.keys(context.subscriptions).length > limits.operationsPerSocketMax) {
    return refuse(
      'RATE_LIMITED',
      `At most ${limits.operationsPerSocketMax} operations may be under way on one socket.`,
    );
  }
  currentOperation().trace.caller = findTraceParent(payload.extensions?.['traceparent']);
  const { schema, parse, validate, contextFactory, execute, subscribe } = pipeline.getEnveloped({ params: payload });
  try {
    const document = parse(persistedOperations ? findPersistedOperation(persistedOperations, payload) : payload.query);
    const operation = getOperationAST(document, payload.operationName);
    if (!operation) return refuse('BAD_USER_INPUT', 'Could not determine what operation to execute.');
    const errors = validate(schema, document);
    if (errors.length > 0) return { errors };
    const contextValue = await contextFactory();
    const { operationName, variables: variableValues } = payload;
    const args = { schema, document, contextValue, operationName, variableValues };
    if (operation.operation === OperationTypeNode.SUBSCRIPTION) return { args, execute: subscribe };
    const { answers } = context.extra.session;
    return { args, execute: async (given) => await counted(answers, execute(given)) };
  } catch (error) {
    const errors = error instanceof AggregateError ? error.errors : [error];
    return { errors: errors.map(maskError) };
  }
}

function refuse(code: string, message: string): { errors: GraphQLError[] } {
  currentOperation().errorCodes.add(code);
  return { errors: [new GraphQLError(message, { extensions: { code } })] };
}

/** Resolves when the session has nothing left to answer, or at the deadline. */
async function untilAnswered({ answers }: Session, deadline: Promise<void>): Promise<void> {
  const signal = { late: false };
  const late = deadline.then(() => (signal.late = true));
  do {
    await Promise.race([Promise.allSettled(answers), late]);
    await setImmediate(); // what was prepared begins, and an answer is written, in the microtasks after it
  } while (answers.size > 0 && !signal.late);
}

/** Keeps a result among the answers until it is there. */
function counted<Result>(answers: Set<Promise<unknown>>, result: Result | Promise<Result>): Promise<Result> {
  const answer = Promise.resolve(result);
  const forget = (): void => void answers.delete(answer);
  answers.add(answer);
  answer.then(forget, forget);
  return answer;
}
