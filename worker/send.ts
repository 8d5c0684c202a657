import { Agent } from 'undici';
import { parseCidrs, type Cidr } from '../src/domain/address-policy.ts';
import type { Dispatch, SendResult } from '../src/domain/delivery.ts';
import type { TraceParent } from '../src/domain/trace-parent.ts';
import { checkWebhookUrl } from '../src/domain/webhook-url.ts';
import { createAddressResolver } from './egress-addresses.ts';
import { createConnector, type Connector, type ConnectTimings } from './egress-connect.ts';
import type { Lookup } from './egress-lookup.ts';
import { Deadlines } from './send-deadlines.ts';
import { Exchange, type ExchangeOwner, resultWithout } from './send-exchange.ts';
import { requestHeaders, type RequestHeaderSettings } from './send-headers.ts';
import { responseHeadBytesMax, type Trouble } from './send-trouble.ts';

// send: makes one HTTP attempt. Its invariant: whatever a receiver does, an attempt ends by its deadline, in bounded
// memory, having spoken to public (or allowed) addresses only, and its outcome is a value. deliver calls it.
// send-* are the request's parts, egress-* the way out of the network, response-* what is kept of an answer.

export interface SenderOptions {
  /** Names the header of TIMESTAMPED_HEX signatures. */
  brand: string;
  /** Of Posthorn, for the user agent. */
  version: string;
  /** From the call of `send` to the end of the response body, name lookup and connecting included. */
  attemptTimeoutMs: number;
  /** For name lookup, TCP and TLS together; 3000 when left out. */
  connectTimeoutMs?: number;
  /** Ranges such as `127.0.0.0/8` that may be sent to in spite of being special. */
  allowedCidrs: readonly string[];
  /** Refuses http URLs; false when left out. */
  requireHttps?: boolean;
  /** Resolves names in place of the system. */
  lookup?: Lookup;
  now?: () => Date;
  /** Certificate authorities trusted instead of the well-known ones. */
  tls?: { ca: string };
  /** Hears of bugs and shortages here; the customer reads no more than that there was one. */
  onInternalError?: (error: unknown) => void;
}

export interface Sender extends AsyncDisposable {
  /**
   * Makes the attempt that the dispatch describes. What a receiver does is always a result. Rejects only with the
   * signal's reason when it aborts, or when the sender is disposed of: the request may have arrived then. With a
   * `traceParent` the request carries it.
   */
  send(dispatch: Dispatch, signal: AbortSignal, traceParent?: TraceParent | null): Promise<SendResult>;
}

/** Creates a sender, with kept-alive connections per origin. Throws a RangeError when an allowed range is not one. */
export function createSender(options: SenderOptions): Sender {
  return new HttpSender(options);
}

/** Beyond this many open sockets, connections are closed after their answer instead of being kept. */
const socketsKeptMax = 1024;

/** Parsed and checked URLs kept at hand. */
const targetsMax = 4096;

/** Where a URL leads, or why it may not be sent to. */
type Target = ReachableTarget | { kind: 'refused'; trouble: Trouble };

interface ReachableTarget {
  kind: 'ok';
  origin: string;
  path: string;
}

class HttpSender implements Sender, ExchangeOwner {
  readonly attemptTimeoutMs: number;
  readonly #options: SenderOptions;
  readonly #allowed: readonly Cidr[];
  readonly #headerSettings: RequestHeaderSettings;
  readonly #inFlight = new Deadlines<Exchange>();
  readonly #watchedSignals = new WeakSet<AbortSignal>();
  readonly #targets = new Map<string, Target>();
  readonly #connector: Connector;
  readonly #agent: Agent;
  #freshConnection: ConnectTimings | null = null;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.attemptTimeoutMs = options.attemptTimeoutMs;
    this.#allowed = parseCidrs(options.allowedCidrs);
    this.#headerSettings = { brand: options.brand, userAgent: `Posthorn/${options.version}` };
    this.#connector = createConnector({
      resolve: createAddressResolver(this.#allowed, options.lookup),
      allowed: this.#allowed,
      connectTimeoutMs: options.connectTimeoutMs ?? 3000,
      ca: options.tls?.ca,
      onOutcome: (timings) => {
        this.#freshConnection = timings;
      },
    });
    this.#agent = createAgent(this.#connector);
  }

  async send(dispatch: Dispatch, signal: AbortSignal, traceParent: TraceParent | null = null): Promise<SendResult> {
    signal.throwIfAborted();
    this.#watch(signal);
    const startedAt = this.now();
    const target = this.#targetOf(dispatch.url);
    if (target.kind === 'refused') return resultWithout(startedAt, target.trouble, 0); // it never left
    return await new Promise((resolve, reject) => {
      const exchange = new Exchange(this, startedAt, signal, { resolve, reject });
      this.#inFlight.add(exchange);
      try {
        this.#agent.dispatch(this.#requestOf(dispatch, target, { startedAt, traceParent }), exchange);
      } catch (error) {
        exchange.fail(error);
      }
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const exchange of this.#inFlight) exchange.interrupt(new Error('the sender is closed'));
    await this.#agent.destroy();
  }

  now(): Date {
    return this.#options.now?.() ?? new Date();
  }

  freshConnection(): ConnectTimings | null {
    return this.#freshConnection;
  }

  release(exchange: Exchange): void {
    this.#inFlight.delete(exchange);
  }

  reportInternalError(error: unknown): void {
    this.#options.onInternalError?.(error);
  }

  #requestOf(
    dispatch: Dispatch,
    { origin, path }: ReachableTarget,
    { startedAt, traceParent }: { startedAt: Date; traceParent: TraceParent | null },
  ): Agent.DispatchOptions {
    const headers = requestHeaders(this.#headerSettings, dispatch, Math.floor(startedAt.getTime() / 1000));
    if (traceParent !== null) headers.push('traceparent', traceParent);
    const reset = this.#connector.socketCount() >= socketsKeptMax;
    return { origin, path, method: 'POST', headers, body: dispatch.body, reset };
  }

  /** One listener per signal, which is one per process: hundreds of requests in flight share it. */
  #watch(signal: AbortSignal): void {
    if (this.#watchedSignals.has(signal)) return;
    this.#watchedSignals.add(signal);
    const interruptAll = (): void => {
      for (const exchange of this.#inFlight) if (exchange.signal === signal) exchange.interrupt(signal.reason);
    };
    signal.addEventListener('abort', interruptAll, { once: true });
  }

  #targetOf(url: string): Target {
    const known = this.#targets.get(url);
    if (known !== undefined) return known;
    if (this.#targets.size >= targetsMax) this.#targets.clear();
    const target = this.#checkTarget(url);
    this.#targets.set(url, target);
    return target;
  }

  #checkTarget(text: string): Target {
    const requireHttps = this.#options.requireHttps ?? false;
    const check = checkWebhookUrl(text, { requireHttps, allowedCidrs: this.#allowed });
    if (check.kind === 'refused') {
      return { kind: 'refused', trouble: { code: 'BLOCKED_ADDRESS', message: check.message } };
    }
    const url = new URL(check.url);
    return { kind: 'ok', origin: url.origin, path: url.pathname + url.search };
  }
}

function createAgent({ connect }: Connector): Agent {
  return new Agent({
    connect,
    // HTTP/2 is off for what was measured with it on: undici makes requests to a host that does not complete its TLS
    // handshake wait for one another, each for a full connect timeout (six took 6 s instead of 1 s), and after a deadline
    // it keeps the session of a host that has vanished, so that every later request goes into it and is lost as well.
    allowH2: false,
    pipelining: 1,
    maxHeaderSize: responseHeadBytesMax,
    // The attempt's own deadline covers both.
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 60_000,
  });
}
