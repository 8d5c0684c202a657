import { haveSameRights } from './share-key.ts';
import type { Caller } from '../../schema/context.ts';
import type { LiveItems } from '../../schema/live-items.ts';
import { FeedError, type FeedSubscription } from '../feed/feed.ts';
import type { FanOut, Turnable } from './fan-out.ts';
import type { FeedBatch } from './feed-batch.ts';
import type { SharedGroup } from './shared-group.ts';

/** Where a subscription's results go: one subscriber on one connection. */
export interface FeedSink {
  /** Whether it takes a batch now. When not, it calls `resume` once it does, or never when its connection ends. */
  isReady(resume: () => void): boolean;
  write(batch: FeedBatch): void;
  /** Ends its connection, in a way that has the other side come back by itself, and a little later. */
  closeForNow(): void;
}

export interface LiveSubscriptionOptions {
  fanOut: FanOut;
  items: LiveItems<unknown>;
  /** Who subscribes. */
  caller: Caller;
  /** Gives the group of those who see what this caller does; `leave` is called once for each that was given. */
  join: (caller: Caller) => SharedGroup;
  leave: (group: SharedGroup) => void;
  onErrorCodes: (codes: readonly string[]) => void;
  /** Told of what is a bug of ours. */
  onCrash: (error: unknown) => void;
}

/**
 * One subscriber to the feed: a place in it, and the group of those who see the same. Nothing is queued here: a sink that
 * takes no more is not served, and goes on at its place later.
 */
export class LiveSubscription implements Turnable {
  /** Resolves when it has ended, for whatever reason. */
  readonly ended: Promise<void>;
  readonly #options: LiveSubscriptionOptions;
  readonly #reader: FeedSubscription;
  readonly #resolveEnded: () => void;
  #caller: Caller;
  #group: SharedGroup;
  #cursor: string;
  #sink: FeedSink | null = null;
  /** `waiting`: for the feed, a batch or the sink. `ready`: has a turn in the next round. */
  #state: 'waiting' | 'ready' | 'ended' = 'waiting';
  #forgetWake: (() => void) | null = null;

  constructor(options: LiveSubscriptionOptions) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#resolveEnded = resolve;
    this.#options = options;
    this.#reader = options.items.subscription;
    this.#caller = options.caller;
    this.#group = options.join(options.caller);
    this.#cursor = this.#reader.cursor;
  }

  /** Its place: right behind what the sink was given last. */
  get cursor(): string {
    return this.#cursor;
  }

  /** Whether it can be resumed behind a cursor. */
  get resumable(): boolean {
    return this.#options.items.plan.startArgument !== undefined;
  }

  /** Begins to write. */
  start(sink: FeedSink): void {
    this.#sink = sink;
    const first = this.#options.items.plan.first ?? [];
    if (first.length === 0) return this.#ready();
    this.#take(this.#group.batchOf(first.map((value) => ({ kind: 'value', value }))));
  }

  /** Goes on with what this caller sees, who may have other rights by now. */
  changeCaller(caller: Caller): void {
    if (this.#state === 'ended' || haveSameRights(this.#caller, caller)) return;
    this.#caller = caller;
    const left = this.#group;
    this.#group = this.#options.join(caller);
    this.#options.leave(left);
  }

  /** Ends it. Harmless when it has ended. */
  end(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#forgetWake?.();
    this.#sink = null;
    void this.#reader.return?.();
    this.#options.leave(this.#group);
    this.#resolveEnded();
  }

  takeTurn(): void {
    if (this.#state !== 'ready') return;
    this.#state = 'waiting';
    try {
      if (this.#reader.ended) return this.end();
      if (this.#sink?.isReady(this.#ready) !== true) return;
      const batch = this.#group.batchAfter(this.#reader, this.#cursor);
      if (batch === null) this.#forgetWake = this.#reader.onceChanged(this.#ready);
      else this.#take(batch);
    } catch (error) {
      void this.#fail(error);
    }
  }

  readonly #ready = (): void => {
    if (this.#state !== 'waiting') return;
    this.#state = 'ready';
    this.#forgetWake?.();
    this.#forgetWake = null;
    this.#options.fanOut.ready(this);
  };

  #take(batch: FeedBatch | Promise<FeedBatch>): void {
    if (batch instanceof Promise) void this.#takeLater(batch);
    else this.#write(batch);
  }

  async #takeLater(making: Promise<FeedBatch>): Promise<void> {
    const group = this.#group;
    try {
      const batch = await making;
      if (group === this.#group) this.#write(batch);
      else this.#ready(); // it has moved meanwhile, and asks its own group
    } catch (error) {
      await this.#fail(error);
    }
  }

  #write(batch: FeedBatch): void {
    if (this.#sink === null) return;
    if (batch.itemCount > 0 && batch.cursor !== null) {
      this.#reader.skip(batch.itemCount);
      this.#cursor = batch.cursor;
    }
    if (batch.errorCodes.length > 0) this.#options.onErrorCodes(batch.errorCodes);
    if (batch.frames.length > 0) this.#sink.write(batch);
    this.#ready();
  }

  /** The feed's failure is the last that the subscriber gets. One that is away for now ends no subscription: it closes its connection. */
  async #fail(error: unknown): Promise<void> {
    if (error instanceof FeedError && error.code === 'UNAVAILABLE') {
      this.#options.onErrorCodes([error.code]);
      this.#sink?.closeForNow();
      return this.end();
    }
    try {
      const batch = await this.#group.batchOfError(error);
      this.#options.onErrorCodes(batch.errorCodes);
      this.#sink?.write(batch);
    } catch (crash) {
      this.#options.onCrash(crash);
    }
    this.end();
  }
}
