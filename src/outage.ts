import { setTimeout as wait } from 'node:timers/promises';
import { within } from './time-limit.ts';

/** How an outage of a server is noticed, and who is told. */
export interface OutageOptions {
  /** Whether an error says that the server is away, and not that it refused what was asked. */
  isAway: (error: unknown) => boolean;
  /** Resolves when the server does its work. */
  probe: () => Promise<unknown>;
  /** Told once when the server has turned out to be away. */
  onBegin?: (error: unknown) => void;
  /** Told once when it is back. `failureCount`: what failed meanwhile. */
  onEnd?: (outage: { durationMs: number; failureCount: number }) => void;
}

const probeLimitMs = 2_000;
/** Waits between probes, and before work is done again, grow from the first to the second of these. */
const waitMs = { first: 50, max: 1_000 };

/**
 * Knows whether a server that this process stands on is away. Whoever is failed by it says so; from then on one probe asks
 * for all until the server answers, so that nobody else spins, and an outage of an hour is two lines in the log. A single
 * connection that broke is no outage: the first probe answers.
 */
export class Outage implements Disposable {
  readonly #options: OutageOptions;
  readonly #stopped = new AbortController();
  #probing: Promise<void> | null = null;
  #failureCount = 0;
  #probeFailed = false;
  #endedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: OutageOptions) {
    this.#options = options;
  }

  /** Whether the server is taken to be away now. */
  get isOn(): boolean {
    return this.#probing !== null;
  }

  /** Whether it is away for sure: a probe has failed as well, so that it was not one connection that broke. */
  get isConfirmed(): boolean {
    return this.#probeFailed;
  }

  /** Whether the server is away, or was within so many milliseconds. */
  wasOnWithin(ms: number): boolean {
    return this.isOn || performance.now() - this.#endedAtMs < ms;
  }

  /** Takes in what something failed with, and gives whether that is the server's being away. */
  failed(error: unknown): boolean {
    if (!this.#options.isAway(error)) return false;
    this.#failureCount += 1;
    if (!this.#stopped.signal.aborted) this.#probing ??= this.#probe();
    return true;
  }

  /** Resolves when the server is not, or no longer, away. Rejects with the signal's reason when it aborts first. */
  async over(signal: AbortSignal): Promise<void> {
    const probing = this.#probing;
    if (probing === null) return;
    signal.throwIfAborted();
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const abort = (): void => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    try {
      await Promise.race([probing, aborted]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /**
   * Does work that may be done again when its outcome is unknown: when the server is there, and once more each time that it
   * went away meanwhile. Rejects with whatever else the work fails with, and when the signal aborts or this is disposed.
   */
  async survive<Result>(work: () => Promise<Result>, signal: AbortSignal): Promise<Result> {
    for (let failureCount = 0; ; failureCount += 1) {
      await this.over(signal);
      try {
        return await work();
      } catch (error) {
        if (!this.failed(error) || this.#stopped.signal.aborted) throw error;
      }
      // The probe may succeed where the work does not, as with connections that ran out.
      await wait(growingWaitMs(failureCount), undefined, { signal }).catch(() => signal.throwIfAborted());
    }
  }

  [Symbol.dispose](): void {
    this.#stopped.abort();
  }

  async #probe(): Promise<void> {
    const beganAtMs = performance.now();
    for (let count = 0; !this.#stopped.signal.aborted; count += 1) {
      try {
        await within(probeLimitMs, 'the server', this.#options.probe());
        break;
      } catch (error) {
        if (!this.#probeFailed) this.#options.onBegin?.(error);
        this.#probeFailed = true;
      }
      await wait(growingWaitMs(count), undefined, { signal: this.#stopped.signal }).catch(ignoreStop);
    }
    const outage = { durationMs: Math.round(performance.now() - beganAtMs), failureCount: this.#failureCount };
    this.#failureCount = 0;
    this.#probing = null;
    const told = this.#probeFailed;
    this.#probeFailed = false;
    if (told) this.#endedAtMs = performance.now();
    if (told && !this.#stopped.signal.aborted) this.#options.onEnd?.(outage);
  }
}

function growingWaitMs(count: number): number {
  return Math.min(waitMs.first * 2 ** Math.min(count, 10), waitMs.max);
}

/** The loop looks at the signal itself. */
function ignoreStop(): void {}
