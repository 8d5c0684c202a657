/** How many do something at once, and how many wait for it. */
export interface FairTurnsOptions {
  /** Of all keys together. */
  atOnceMax: number;
  /** Of one key. */
  perKeyMax: number;
  /** Waiting, of one key. */
  waitingMax: number;
  /** How long one waits. */
  waitMsMax: number;
}

/** There is no turn: too many of this key wait already, or it has waited for too long. Nothing has happened. */
export class NoTurnError extends Error {}

type Release = () => void;

interface Waiting {
  start: (release: Release) => void;
  timeout: NodeJS.Timeout;
}

/** Gives turns at something scarce: the keys take turns as well, so that no key waits for all that another one wants. */
export class FairTurns {
  readonly #options: FairTurnsOptions;
  readonly #underWay = new Map<string, number>();
  /** Keys with somebody waiting; the one that had its turn last stands last. */
  readonly #waiting = new Map<string, Waiting[]>();
  #underWayCount = 0;

  constructor(options: FairTurnsOptions) {
    this.#options = options;
  }

  /** Waits for a turn and gives the function that ends it, to be called once. Throws a NoTurnError when there is none. */
  async take(key: string): Promise<Release> {
    // Whoever could have this place has been given it already.
    if (this.#hasPlace(key)) return this.#start(key);
    const queue = this.#waiting.get(key) ?? [];
    const { waitingMax, waitMsMax } = this.#options;
    if (queue.length >= waitingMax) throw new NoTurnError(`${waitingMax} wait already`);
    return await new Promise<Release>((resolve, reject) => {
      const timeout = setTimeout(() => {
        this.#leave(key, waiting);
        reject(new NoTurnError(`no turn within ${waitMsMax} ms`));
      }, waitMsMax);
      const waiting = { start: resolve, timeout };
      this.#waiting.set(key, [...queue, waiting]);
    });
  }

  #hasPlace(key: string): boolean {
    const { atOnceMax, perKeyMax } = this.#options;
    return this.#underWayCount < atOnceMax && (this.#underWay.get(key) ?? 0) < perKeyMax;
  }

  #start(key: string): Release {
    this.#underWayCount += 1;
    this.#underWay.set(key, (this.#underWay.get(key) ?? 0) + 1);
    return () => this.#end(key);
  }

  #end(key: string): void {
    const left = (this.#underWay.get(key) ?? 0) - 1;
    this.#underWayCount -= 1;
    if (left > 0) this.#underWay.set(key, left);
    else this.#underWay.delete(key);
    this.#startNext();
  }

  /** One end makes one place. */
  #startNext(): void {
    for (const [key, [next]] of this.#waiting) {
      if (next === undefined || !this.#hasPlace(key)) continue;
      this.#leave(key, next);
      const others = this.#waiting.get(key);
      if (others !== undefined) {
        this.#waiting.delete(key);
        this.#waiting.set(key, others);
      }
      next.start(this.#start(key));
      return;
    }
  }

  #leave(key: string, waiting: Waiting): void {
    clearTimeout(waiting.timeout);
    const others = (this.#waiting.get(key) ?? []).filter((other) => other !== waiting);
    if (others.length > 0) this.#waiting.set(key, others);
    else this.#waiting.delete(key);
  }
}
