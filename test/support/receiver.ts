import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createNetServer, type AddressInfo, type Socket } from 'node:net';

/** A request as the receiver got it. */
export interface ReceivedRequest {
  method: string;
  path: string;
  /** Names in lower case; repeated headers joined as Node joins them. */
  headers: Record<string, string>;
  body: string;
  receivedAt: Date;
}

/** What the receiver does with a request; 200 and `ok` where nothing is said. */
export interface ReceiverAnswer {
  status?: number;
  headers?: Record<string, string | string[]>;
  body?: string | Buffer;
  /** Never answers; the connection stays open. */
  hang?: true;
  /** Sends the head at once and then one byte of the body every `everyMs`. */
  drip?: { everyMs: number };
  /** Repeats the body until the sender hangs up. */
  endless?: true;
  /** Breaks the connection with RST instead of answering, or after head and body were sent with the body unfinished. */
  reset?: 'BEFORE_HEAD' | 'MID_BODY';
}

/** A real HTTP server on loopback that keeps what it received. */
export interface Receiver extends AsyncDisposable {
  /** Where to send to, without a path: `http://127.0.0.1:<port>`. */
  url: string;
  /** Every request so far, in order of arrival of its last byte. */
  requests: ReceivedRequest[];
  /** Connections accepted so far. */
  connectionCount(): number;
  /** Resolves with all requests as soon as there are `count`; rejects after `limitMs` (5 s). */
  waitFor(count: number, limitMs?: number): Promise<ReceivedRequest[]>;
}

type Answer = (request: ReceivedRequest, index: number) => ReceiverAnswer | Promise<ReceiverAnswer>;

/** Starts a receiver on a free port that answers as it is told; `index` counts requests from 0. */
export async function startReceiver(answer: Answer = () => ({})): Promise<Receiver> {
  const requests: ReceivedRequest[] = [];
  const arrivals = new EventTarget();
  let connectionCount = 0;
  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    const request = await receive(incoming);
    if (request === null) return;
    const index = requests.push(request) - 1;
    arrivals.dispatchEvent(new Event('request'));
    respond(outgoing, await answer(request, index));
  };
  const server = createServer((incoming, outgoing) => {
    outgoing.on('error', () => {}); // the sender may hang up in the middle of an answer; that is what some tests are about
    void serve(incoming, outgoing);
  });
  server.on('connection', () => {
    connectionCount += 1;
  });
  const url = await listen(server);
  return {
    url,
    requests,
    connectionCount: () => connectionCount,
    waitFor: (count, limitMs = 5000) => waitForRequests(requests, arrivals, count, limitMs),
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A server below HTTP, for answers that no HTTP server would give. */
export interface RawReceiver extends AsyncDisposable {
  url: string;
}

/** Starts a TCP server on a free loopback port; `onConnection` does what it wants with each connection. */
export async function startRawReceiver(onConnection: (socket: Socket) => void): Promise<RawReceiver> {
  const sockets = new Set<Socket>();
  const server = createNetServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    onConnection(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${portOf(server.address())}`,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

async function listen(server: Server): Promise<string> {
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${portOf(server.address())}`;
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('the server has no TCP port');
  return address.port;
}

/** Reads the whole request, or null when the sender hung up before its end. */
async function receive(incoming: IncomingMessage): Promise<ReceivedRequest | null> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
  } catch {
    return null;
  }
  const headers = Object.fromEntries(
    Object.entries(incoming.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : (value ?? ''),
    ]),
  );
  return {
    method: incoming.method ?? '',
    path: incoming.url ?? '',
    headers,
    body: Buffer.concat(chunks).toString('utf8'),
    receivedAt: new Date(),
  };
}

function respond(outgoing: ServerResponse, answer: ReceiverAnswer): void {
  if (answer.hang === true) return;
  if (answer.reset === 'BEFORE_HEAD') {
    outgoing.socket?.resetAndDestroy();
    return;
  }
  const body = Buffer.from(answer.body ?? 'ok');
  outgoing.writeHead(answer.status ?? 200, answer.headers);
  if (answer.drip !== undefined) drip(outgoing, body, answer.drip.everyMs);
  else if (answer.endless === true) pour(outgoing, body);
  else if (answer.reset === 'MID_BODY') outgoing.write(body, () => outgoing.socket?.resetAndDestroy());
  else outgoing.end(body);
}

function drip(outgoing: ServerResponse, body: Buffer, everyMs: number): void {
  let sent = 0;
  outgoing.flushHeaders();
  const timer = setInterval(() => {
    sent += 1;
    if (sent < body.length) outgoing.write(body.subarray(sent - 1, sent));
    else {
      clearInterval(timer);
      outgoing.end(body.subarray(sent - 1));
    }
  }, everyMs);
  outgoing.on('close', () => clearInterval(timer));
}

function pour(outgoing: ServerResponse, body: Buffer): void {
  const write = () => {
    while (!outgoing.destroyed && outgoing.write(body));
  };
  outgoing.on('drain', write);
  write();
}

async function waitForRequests(
  requests: ReceivedRequest[],
  arrivals: EventTarget,
  count: number,
  limitMs: number,
): Promise<ReceivedRequest[]> {
  const limit = AbortSignal.timeout(limitMs);
  while (requests.length < count) {
    try {
      await once(arrivals, 'request', { signal: limit });
    } catch (cause) {
      throw new Error(`waited ${limitMs} ms for ${count} requests, got ${requests.length}`, { cause });
    }
  }
  return requests;
}
