import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import type { AttemptTimings, ReceiverResponse, SendResult } from '../src/domain/delivery.ts';
import { isSuccess } from '../src/domain/delivery.ts';
import type { ConnectTimings } from './egress-connect.ts';
import type { BodyReading } from './response-body.ts';
import { ResponseBody } from './response-body.ts';
import { receiverControlOf, retryAfterMsOf, storedHeaders } from './response-head.ts';
import type { Deadlined } from './send-deadlines.ts';
import type { Trouble } from './send-trouble.ts';
import { bodyCorrupt, bodyTooLarge, internalTrouble, notHttp, troubleOf } from './send-trouble.ts';

/** What an exchange needs of its sender. */
export interface ExchangeOwner {
  readonly attemptTimeoutMs: number;
  now(): Date;
  /** The timings of the connection whose outcome undici is being told at this moment; null at any other. */
  freshConnection(): ConnectTimings | null;
  /** Called once when the exchange has ended, before its promise settles. */
  release(exchange: Exchange): void;
  reportInternalError(error: unknown): void;
}

export interface Settle {
  resolve: (result: SendResult) => void;
  reject: (reason: unknown) => void;
}

const keptAlive: ConnectTimings = { dnsMs: null, connectMs: null, tlsMs: null };

/** Given to undici when a request is broken off; it never reaches a caller. */
const brokenOff = new Error('the exchange has ended');

/**
 * One request and its answer, as undici's handler. It ends exactly once: with the answer's end, an error, the deadline
 * or an interruption, whichever is first. No closures and no per-request timer: this runs for every delivery.
 */
export class Exchange implements Dispatcher.DispatchHandler, Deadlined {
  readonly deadlineAt: number;
  readonly signal: AbortSignal;
  readonly #owner: ExchangeOwner;
  readonly #settle: Settle;
  readonly #startedAt: Date;
  readonly #startedMs: number;
  #controller: Dispatcher.DispatchController | null = null;
  #connection: ConnectTimings | null = null;
  #sentMs = 0;
  #firstByteMs: number | null = null;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #body: ResponseBody | null = null;
  #hasEnded = false;

  constructor(owner: ExchangeOwner, startedAt: Date, signal: AbortSignal, settle: Settle) {
    this.#owner = owner;
    this.#startedAt = startedAt;
    this.#startedMs = performance.now();
    this.#settle = settle;
    this.signal = signal;
    this.deadlineAt = this.#startedMs + owner.attemptTimeoutMs;
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#hasEnded) {
      controller.abort(brokenOff); // the deadline passed while the connection was being made: nothing is sent
      return;
    }
    this.#controller = controller;
    this.#connection = this.#owner.freshConnection();
    this.#sentMs = performance.now();
  }

  onResponseStarted(): void {
    this.#firstByteMs ??= performance.now() - this.#sentMs;
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 100) return this.#end(notHttp); // undici would take it for an interim answer, and trip over its end
    if (status < 200) return; // interim, as 103; the answer follows
    this.#status = status;
    this.#headers = headers;
    this.#body = new ResponseBody(headers['content-encoding']);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#body?.push(chunk) === false) this.#end(null);
  }

  onResponseEnd(): void {
    this.#end(null);
  }

  onResponseError(_controller: Dispatcher.DispatchController | null, error: Error): void {
    this.#connection ??= this.#owner.freshConnection();
    this.fail(error);
  }

  /** Ends the exchange with an error: the receiver's fault where it is known to be, else ours. */
  fail(error: unknown): void {
    if (this.#hasEnded) return;
    const trouble = troubleOf(error);
    this.#end(trouble ?? internalTrouble);
    if (trouble === null) this.#owner.reportInternalError(error);
  }

  expire(): void {
    const limit = `within ${this.#owner.attemptTimeoutMs} ms.`;
    this.#end({ code: 'TIMEOUT', message: `${this.#missing()} ${limit}` });
  }

  /** Breaks the exchange off; its promise rejects with the reason, since nothing can be said about the receiver. */
  interrupt(reason: unknown): void {
    if (this.#leave()) this.#settle.reject(reason);
  }

  #missing(): string {
    if (this.#body !== null) return 'The response body did not end';
    return this.#controller === null ? 'No connection' : 'No response';
  }

  #end(trouble: Trouble | null): void {
    if (!this.#leave()) return;
    const durationMs = performance.now() - this.#startedMs;
    try {
      const reading = this.#body?.read() ?? null;
      if (reading instanceof Promise) void this.#settleDecoded(reading, durationMs, trouble);
      else this.#settle.resolve(this.#result(reading, durationMs, trouble));
    } catch (error) {
      this.#settleUnread(error, durationMs);
    }
  }

  async #settleDecoded(reading: Promise<BodyReading>, durationMs: number, trouble: Trouble | null): Promise<void> {
    try {
      this.#settle.resolve(this.#result(await reading, durationMs, trouble));
    } catch (error) {
      this.#settleUnread(error, durationMs);
    }
  }

  /** No deadline watches an exchange that has ended: one whose answer cannot be read because of a bug must end as well. */
  #settleUnread(error: unknown, durationMs: number): void {
    this.#settle.resolve(resultWithout(this.#startedAt, internalTrouble, Math.round(durationMs)));
    this.#owner.reportInternalError(error);
  }

  /** True the first time only. Aborting does nothing to a request that undici has ended itself. */
  #leave(): boolean {
    if (this.#hasEnded) return false;
    this.#hasEnded = true;
    this.#owner.release(this);
    this.#controller?.abort(brokenOff);
    return true;
  }

  #result(reading: BodyReading | null, durationMs: number, trouble: Trouble | null): SendResult {
    const noted = trouble ?? troubleOfBody(reading);
    return {
      startedAt: this.#startedAt,
      durationMs: Math.round(durationMs),
      timings: this.#timings(),
      response: this.#response(reading),
      // A 2xx head is an answer that counts, whatever became of its body; the message keeps what did.
      errorCode: isSuccess(this.#status) ? null : (noted?.code ?? null),
      errorMessage: noted?.message ?? null,
      retryAfterMs: retryAfterMsOf(this.#headers, this.#owner.now()),
      receiverControl: receiverControlOf(this.#headers),
    };
  }

  #timings(): AttemptTimings {
    const { dnsMs, connectMs, tlsMs } = this.#connection ?? keptAlive;
    return { dnsMs, connectMs, tlsMs, firstByteMs: this.#firstByteMs === null ? null : Math.round(this.#firstByteMs) };
  }

  #response(reading: BodyReading | null): ReceiverResponse | null {
    if (this.#status === 0) return null;
    return { status: this.#status, headers: storedHeaders(this.#headers), body: reading?.text ?? '' };
  }
}

function troubleOfBody(reading: BodyReading | null): Trouble | null {
  if (reading === null) return null;
  if (reading.isTooLarge) return bodyTooLarge;
  return reading.isCorrupt ? bodyCorrupt : null;
}

/** The result of an attempt that has no answer. */
export function resultWithout(startedAt: Date, trouble: Trouble, durationMs: number): SendResult {
  return {
    startedAt,
    durationMs,
    timings: { ...keptAlive, firstByteMs: null },
    response: null,
    errorCode: trouble.code,
    errorMessage: trouble.message,
    retryAfterMs: null,
    receiverControl: null,
  };
}
