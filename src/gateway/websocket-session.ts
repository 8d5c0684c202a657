import { randomUUID } from 'node:crypto';
import { CloseCode } from 'graphql-ws';
import { createOperationScope, runOperation } from './operation-scope.ts';
import { OperationTrace } from './operation-trace.ts';
import { createWebsocketSink } from './websocket-sink.ts';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Server } from 'graphql-ws';
import type { Logger } from 'pino';
import type { WebSocket } from 'ws';
import type { Administrator, Caller } from '../../schema/context.ts';
import type { Tracer } from '../tracing/tracer.ts';
import type { ConnectionWatch } from './connection-watch.ts';
import type { GatewayMeter } from './gateway-meter.ts';
import type { GatewayLimits } from './limits.ts';
import type { LiveSubscription } from './live-subscription.ts';

/** The protocol over many sockets, as graphql-ws speaks it. */
export type Protocol = Server<{ session: Session }>;

/** What is kept of the request that a socket came by: the whole of it would stay in memory for as long as the socket. */
interface UpgradeRequest {
  readonly socket: Socket;
  readonly headers: Pick<IncomingHttpHeaders, 'authorization'>;
}

/** One socket. */
export interface Session {
  readonly socket: WebSocket;
  readonly request: UpgradeRequest;
  caller: Caller | Administrator | null;
  key: string | null;
  /** Whether messages are no longer read: what has not begun is the client's to send again, elsewhere. */
  isEnding: boolean;
  /** Operations being prepared, and results of queries and mutations under way. */
  readonly answers: Set<Promise<unknown>>;
  /** Its subscriptions to the feed. */
  readonly live: Set<LiveSubscription>;
}

/** A socket that was told to close has this long to answer before its connection is cut. */
const closeGraceMs = 2_000;
const tryAgainLater = 1013;

/** Makes the session of a socket that has just come. */
export function createSession(socket: WebSocket, request: IncomingMessage): Session {
  const { authorization } = request.headers;
  const kept: UpgradeRequest = {
    socket: request.socket,
    headers: authorization === undefined ? {} : { authorization },
  };
  return { socket, request: kept, caller: null, key: null, isEnding: false, answers: new Set(), live: new Set() };
}

/** Writes a feed subscription's results to the socket. What it gives has no results; it ends with the subscription, and ends it. */
export function startLive(session: Session, id: string, live: LiveSubscription): AsyncGenerator<never, undefined> {
  const done = { done: true, value: undefined } as const;
  const end = async (): Promise<typeof done> => {
    live.end();
    return await Promise.resolve(done);
  };
  session.live.add(live);
  if (session.caller !== null && session.caller.kind !== 'ADMINISTRATOR') live.changeCaller(session.caller); // may have changed since the operation came
  void live.ended.then(() => session.live.delete(live));
  live.start(createWebsocketSink(id, session.socket, session.request.socket));
  return {
    async next() {
      await live.ended;
      return done;
    },
    return: end,
    async throw(error) {
      await end();
      throw error;
    },
    [Symbol.asyncIterator]() {
      return this;
    },
    async [Symbol.asyncDispose]() {
      await end();
    },
  };
}

/** Closes a socket, and cuts its connection when it does not answer. */
export function closeSocket(socket: WebSocket, code: number, reason: string): void {
  if (socket.readyState !== socket.OPEN) return; // closing already, with a timer of its own
  socket.close(code, reason);
  const timer = setTimeout(() => socket.terminate(), closeGraceMs);
  socket.once('close', () => clearTimeout(timer));
}

/** Looks after the socket until the function that it gives is called. */
export function watchSession(session: Session, watch: ConnectionWatch): () => void {
  const { socket, request } = session;
  let answered = true;
  socket.on('pong', () => (answered = true));
  return watch.add({
    socket: request.socket,
    get key() {
      return session.key;
    },
    get caller() {
      return session.caller;
    },
    onCaller: (caller) => changeCaller(session, caller),
    onForbidden: () => closeSocket(socket, CloseCode.Forbidden, 'Forbidden'),
    onStalled: () => closeSocket(socket, tryAgainLater, 'Try again later'),
    onPing() {
      if (!answered) return socket.terminate();
      answered = false;
      socket.ping();
    },
  });
}

function changeCaller(session: Session, caller: Caller): void {
  session.caller = caller;
  for (const live of session.live) live.changeCaller(caller);
}

/** What messages are handled with. */
export interface SessionParts {
  limits: GatewayLimits;
  logger: Logger;
  meter: GatewayMeter | undefined;
  tracer: Tracer | null;
}

/** Speaks the protocol over the socket. Each message runs in its own operation scope. */
export function openSession(
  session: Session,
  protocol: Protocol,
  { limits, logger, meter, tracer }: SessionParts,
): (code: number, reason: string) => Promise<void> {
  const { socket } = session;
  const failed = (error: unknown): void => {
    logger.error({ err: error }, 'a websocket message could not be handled');
    closeSocket(socket, CloseCode.InternalServerError, 'Internal server error');
  };
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  return protocol.opened(
    {
      protocol: socket.protocol,
      // Resolves when the kernel has taken the message: until then the next item of its subscription is not pulled.
      // On a socket that is closing it waits for the end: resolving at once would pull a ready source without a pause,
      // in microtasks, and nothing else would ever run again.
      send: async (data) => {
        if (socket.readyState !== socket.OPEN) return await gone;
        await new Promise<void>((resolve) => socket.send(data, () => resolve()));
      },
      close: (code = CloseCode.InternalServerError, reason = '') => closeSocket(socket, code, reason),
      onMessage: (handle) => {
        socket.on('message', (message) => {
          if (socket.readyState !== socket.OPEN || session.isEnding) return;
          if (socket.bufferedAmount > limits.bufferedBytesMax) {
            logger.info({ waitingBytes: socket.bufferedAmount }, 'a reader that takes nothing asks for more');
            meter?.slowReaderClosed();
            return closeSocket(socket, tryAgainLater, 'Try again later');
          }
          const text = Buffer.isBuffer(message) ? message.toString() : ''; // ws gives buffers unless told otherwise
          const scope = createOperationScope(randomUUID(), 'websocket', session.caller, new OperationTrace(tracer));
          runOperation(scope, { logger, meter }, async () => await handle(text)).catch(failed);
        });
      },
    },
    { session },
  );
}
