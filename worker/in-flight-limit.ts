/** A delivery under way; `leave` is called once, when it has ended. */
export interface Place {
  leave(): void;
}

/** After how long a delivery under way no longer counts as work, in milliseconds: it waits for its receiver. */
const slowAfterMs = 1_000;
/** Deliveries under way in all, slow ones too, as a multiple of the limit. */
const totalFactor = 4;

/**
 * Bounds how many deliveries are under way at once in this process. What takes longer than a second costs a socket and
 * some memory, but no work: it makes room for others, up to four times the limit. So receivers that fall silent together
 * hold the others up for a second at most, unless so many requests to them are under way that all of that is taken. Places are given in the order in which they were asked for.
 */
export class InFlightLimit implements Disposable {
  readonly #max: number;
  readonly #fresh = new Map<Place, number>();
  readonly #slow = new Set<Place>();
  readonly #waiting: ((place: Place | null) => void)[] = [];
  #ageing: NodeJS.Timeout | null = null;
  #idle: PromiseWithResolvers<void> | null = null;
  #closed = false;

  constructor(max: number) {
    this.#max = max;
  }

  /** Deliveries under way. */
  get count(): number {
    return this.#fresh.size + this.#slow.size;
  }

  /** Gives a place, at once when there is one; null when the limit was closed before there was. */
  enter(): Place | Promise<Place | null> {
    if (this.#closed) return Promise.resolve(null);
    if (this.#hasRoom() && this.#waiting.length === 0) return this.take();
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  /** Gives a place whether there is room or not, for what takes over from another or cannot wait. */
  take(): Place {
    const place = { leave: () => this.#leave(place) };
    this.#fresh.set(place, performance.now());
    this.#ageing ??= setInterval(() => this.#age(), slowAfterMs / 4).unref();
    return place;
  }

  /** Resolves when nothing is under way. */
  async idle(): Promise<void> {
    if (this.count === 0) return;
    this.#idle ??= Promise.withResolvers();
    await this.#idle.promise;
  }

  /** Gives no place any more to those who wait for one; what is under way goes on. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const resolve of this.#waiting.splice(0)) resolve(null);
  }

  #hasRoom(): boolean {
    return this.#fresh.size < this.#max && this.count < this.#max * totalFactor;
  }

  #leave(place: Place): void {
    if (!this.#fresh.delete(place)) this.#slow.delete(place);
    if (this.count > 0) this.#admit();
    else this.#rest();
  }

  #rest(): void {
    this.#admit();
    if (this.count > 0) return;
    if (this.#ageing !== null) clearInterval(this.#ageing);
    this.#ageing = null;
    this.#idle?.resolve();
    this.#idle = null;
  }

  #admit(): void {
    while (this.#waiting.length > 0 && this.#hasRoom()) this.#waiting.shift()?.(this.take());
  }

  /** Moves what has become slow out of the way; places are in the order of their age. */
  #age(): void {
    const slowSince = performance.now() - slowAfterMs;
    for (const [place, enteredAtMs] of this.#fresh) {
      if (enteredAtMs > slowSince) break;
      this.#fresh.delete(place);
      this.#slow.add(place);
    }
    this.#admit();
  }
}
