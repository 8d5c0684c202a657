import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { beat, leave } from './redis-registry.ts';
import type { RegistrySettings } from './redis-registry.ts';

// How a loss is never silent. Postgres is told first and the feed after, so an item is lost when its publish fails, when its
// process dies before it, or when nobody learns whether its commit went through. No log can show that, so:
// - One number on the server, the generation, stands for "nothing was lost since". Every log keeps the one it was written
//   under, and starts anew, as another epoch, for whoever knows a later one: one step of the number expires every cursor.
// - Whoever publishes is registered before it does, beats every second, and leaves when its publishes have settled. Whoever
//   finds in a beat that another has stopped beating takes it out and begins a generation: it may have died with an item.
// - Whoever loses an item itself says so in its next beat, which is before it publishes again, and that begins one as well.
// - A generation is announced on a channel, and each beat gives it again, so that readers of quiet projects learn of it too.
// - An append under an old generation is refused: a command that a dead connection still brings cannot come after the loss
//   of which it was a part.

export interface PresenceOptions extends RegistrySettings {
  redis: Redis;
  /** Time between two beats. */
  beatMs: number;
  /** How long the server may be away until its readers are told. */
  awayMsMax: number;
  /** A later generation has begun. */
  onGeneration: () => void;
  /** The server has been away for longer than `awayMsMax`, */
  onGone: () => void;
  /** or it has answered again after it did not. */
  onBack: () => void;
  onError: (error: unknown) => void;
}

/** Time between two questions whether a server that failed answers again. */
const probePauseMs = 250;

/** This process among the publishers of a Redis, and what it knows of the generation and of whether the server answers. */
export class RedisPresence implements AsyncDisposable {
  readonly #options: PresenceOptions;
  readonly #publisherId = randomUUID();
  #generation = 0;
  #lossCount = 0;
  #toldCount = 0;
  #away = false;
  #gone = false;
  #goneTimer: NodeJS.Timeout | undefined;
  #endPause: () => void = () => {};
  #running = Promise.resolve();
  #closed = false;

  constructor(options: PresenceOptions) {
    this.#options = options;
  }

  /** The latest generation that this process knows of. */
  get generation(): number {
    return this.#generation;
  }

  /** Whether the last command failed, and none has been answered since: nothing can be published. */
  get away(): boolean {
    return this.#away;
  }

  /** Whether that has lasted for longer than readers wait. */
  get gone(): boolean {
    return this.#gone;
  }

  /** Registers, and beats from then on. Rejects when the server does not answer. */
  async start(): Promise<void> {
    await this.#beat();
    this.#running = this.#run();
  }

  /** Takes a generation that the server told of. */
  learn(generation: number): void {
    if (!(generation > this.#generation)) return;
    this.#generation = generation;
    this.#options.onGeneration();
  }

  /** An item may have been committed and never published: tells of it as soon as the server answers. */
  lose(): void {
    this.#lossCount += 1;
    if (!this.#away) this.#endPause();
  }

  /** A command failed: nothing is asked of the server until it has answered a beat. */
  leaveServer(error: unknown): void {
    if (this.#away || this.#closed) return;
    this.#away = true;
    this.#goneTimer = setTimeout(() => {
      this.#gone = true;
      this.#options.onGone();
    }, this.#options.awayMsMax).unref();
    this.#options.onError(error);
    this.#endPause();
  }

  /** There is a connection again: asks at once whether the server answers. */
  hurry(): void {
    if (this.#away) this.#endPause();
  }

  /** Leaves, unless a loss could not be told: then the others find the registration lapsed, and tell of it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#goneTimer);
    this.#endPause();
    await this.#running;
    if (this.#hasLoss) await this.#tryBeat();
    if (this.#generation === 0 || this.#hasLoss || this.#away) return; // of generation 0 is who never was registered
    await leave(this.#options.redis, this.#options, this.#publisherId).catch(this.#options.onError);
  }

  get #hasLoss(): boolean {
    return this.#lossCount > this.#toldCount;
  }

  async #run(): Promise<void> {
    while (!this.#closed) {
      if (this.#away || !this.#hasLoss) await this.#pause(this.#away ? probePauseMs : this.#options.beatMs);
      if (!this.#closed) await this.#tryBeat();
    }
  }

  async #tryBeat(): Promise<void> {
    try {
      await this.#beat();
      this.#comeBack();
    } catch (error) {
      this.leaveServer(error);
    }
  }

  async #beat(): Promise<void> {
    const lossCount = this.#lossCount;
    const { redis } = this.#options;
    const said = {
      publisherId: this.#publisherId,
      generation: this.#generation,
      lossCount,
      toldCount: this.#toldCount,
    };
    const generation = await beat(redis, this.#options, said);
    this.#toldCount = lossCount;
    this.learn(generation);
  }

  #comeBack(): void {
    if (!this.#away) return;
    this.#away = false;
    this.#gone = false;
    clearTimeout(this.#goneTimer);
    this.#options.onBack();
  }

  async #pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms).unref();
    this.#endPause = resolve;
    await promise;
    clearTimeout(timer);
  }
}
