import type { LookupAddress } from 'node:dns';
import { connect as connectTcp, type LookupFunction, type Socket, type TcpNetConnectOpts } from 'node:net';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { buildConnector } from 'undici';
import type { Cidr } from '../src/domain/address-policy.ts';
import { isAddress, isForbiddenAddress } from '../src/domain/address-policy.ts';
import { blockedMessage } from '../src/domain/webhook-url.ts';
import { connectFailure, EgressError } from './egress-error.ts';
import type { Lookup } from './egress-lookup.ts';

/** How long the phases of making a connection took, in milliseconds; null for those that did not happen or end. */
export interface ConnectTimings {
  dnsMs: number | null;
  connectMs: number | null;
  tlsMs: number | null;
}

export interface ConnectorOptions {
  /** Gives addresses that are not forbidden; see createAddressResolver. */
  resolve: Lookup;
  allowed: readonly Cidr[];
  /** For name lookup, TCP and TLS together. */
  connectTimeoutMs: number;
  /** Certificates to trust instead of the well-known authorities. */
  ca?: string | undefined;
  /** Called with the timings just before undici hears of the connection or its failure, and with null just after. */
  onOutcome: (timings: ConnectTimings | null) => void;
}

export interface Connector {
  connect: buildConnector.connector;
  /** Sockets that are open or being opened. */
  socketCount: () => number;
}

/**
 * Creates the only door to the network: every connection goes to an address that was checked, and the socket's own
 * address is checked again before a byte is written, so that no answer of a name server can lead elsewhere. Failures
 * are EgressErrors.
 */
export function createConnector(options: ConnectorOptions): Connector {
  const sessions = new Map<string, Buffer>();
  const sockets = new Set<Socket>();
  return {
    connect: (target, callback) => {
      void new Opening(options, { target, sessions, sockets, callback }).run();
    },
    socketCount: () => sockets.size,
  };
}

/** TLS sessions kept for quick handshakes with hosts that are connected to again. */
const sessionsMax = 512;

interface OpeningContext {
  target: buildConnector.Options;
  sessions: Map<string, Buffer>;
  sockets: Set<Socket>;
  callback: buildConnector.Callback;
}

/** One connection in the making. */
class Opening {
  readonly #options: ConnectorOptions;
  readonly #context: OpeningContext;
  readonly #host: string;
  readonly #timings: ConnectTimings = { dnsMs: null, connectMs: null, tlsMs: null };
  #phaseStartedAt = performance.now();
  #isSecuring = false;
  #isDone = false;
  #socket: Socket | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ConnectorOptions, context: OpeningContext) {
    this.#options = options;
    this.#context = context;
    this.#host = context.target.hostname.replace(/\.+$/, '');
  }

  async run(): Promise<void> {
    const { connectTimeoutMs, resolve } = this.#options;
    this.#timer = setTimeout(() => this.#fail(timedOut(connectTimeoutMs)), connectTimeoutMs);
    try {
      const addresses = await resolve(this.#host);
      if (this.#isDone) return;
      if (!isAddress(this.#host)) this.#timings.dnsMs = this.#endPhase();
      this.#open(addresses);
    } catch (error) {
      this.#fail(error);
    }
  }

  #open(addresses: readonly LookupAddress[]): void {
    const { protocol, port } = this.#context.target;
    const isTls = protocol === 'https:';
    const address: TcpNetConnectOpts = {
      host: this.#host,
      port: Number(port) || (isTls ? 443 : 80),
      lookup: lookupOf(addresses),
      autoSelectFamily: true,
      noDelay: true,
      keepAlive: true,
    };
    const socket = isTls ? this.#openTls(address) : connectTcp(address);
    this.#socket = socket;
    this.#context.sockets.add(socket);
    // Before the listener that starts the TLS handshake: nothing may be written to an address that was not checked.
    socket.prependOnceListener('connect', () => this.#onConnect(isTls));
    socket.once('secureConnect', () => this.#onSecure());
    socket.on('error', (error) => this.#fail(connectFailure(error, this.#isSecuring)));
    socket.once('close', () => {
      this.#context.sockets.delete(socket);
      this.#fail(connectFailure(new Error('closed'), this.#isSecuring));
    });
  }

  #openTls(address: TcpNetConnectOpts): TLSSocket {
    const { sessions, target } = this.#context;
    const key = target.host ?? this.#host;
    const session = sessions.get(key);
    const socket = connectTls({
      ...address,
      ...(isAddress(this.#host) ? {} : { servername: this.#host }),
      ...(session === undefined ? {} : { session }),
      ...(this.#options.ca === undefined ? {} : { ca: this.#options.ca }),
      ALPNProtocols: ['http/1.1'],
    });
    return socket.on('session', (latest: Buffer) => {
      sessions.delete(key);
      sessions.set(key, latest);
      if (sessions.size > sessionsMax) sessions.delete(sessions.keys().next().value ?? key);
    });
  }

  #onConnect(isTls: boolean): void {
    this.#timings.connectMs = this.#endPhase();
    const address = this.#socket?.remoteAddress;
    if (address === undefined || isForbiddenAddress(address, this.#options.allowed)) {
      this.#fail(new EgressError('BLOCKED_ADDRESS', blockedMessage(this.#host)));
    } else if (isTls) this.#isSecuring = true;
    else this.#succeed();
  }

  #onSecure(): void {
    this.#timings.tlsMs = this.#endPhase();
    this.#succeed();
  }

  #succeed(): void {
    const socket = this.#socket;
    if (socket === null) return;
    this.#end(() => this.#context.callback(null, socket));
  }

  #fail(error: unknown): void {
    const failure = error instanceof Error ? error : new Error('connecting failed', { cause: error });
    this.#end(() => {
      this.#socket?.destroy();
      this.#context.callback(failure, null);
    });
  }

  #end(tell: () => void): void {
    if (this.#isDone) return;
    this.#isDone = true;
    clearTimeout(this.#timer);
    this.#options.onOutcome(this.#timings);
    tell();
    this.#options.onOutcome(null);
  }

  #endPhase(): number {
    const startedAt = this.#phaseStartedAt;
    this.#phaseStartedAt = performance.now();
    return Math.round(this.#phaseStartedAt - startedAt);
  }
}

function timedOut(connectTimeoutMs: number): EgressError {
  return new EgressError('TIMEOUT', `No connection within ${connectTimeoutMs} ms.`);
}

/** Answers the socket's own lookup with the addresses that were checked. */
function lookupOf(addresses: readonly LookupAddress[]): LookupFunction {
  return (_host, options, callback) => {
    if (options.all === true) callback(null, [...addresses]);
    else callback(null, addresses[0]?.address ?? '', addresses[0]?.family);
  };
}
