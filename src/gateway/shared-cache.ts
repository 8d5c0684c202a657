export interface SharedCacheOptions<Value> {
  bytesMax: number;
  /** After so long what was made is made again: it may show things as they were. */
  ageMsMax: number;
  /** Does not change its mind about a value. */
  bytesOf: (value: Value) => number;
}

interface Entry<Value> {
  made: Value | Promise<Value>;
  bytes: number;
  keptAtMs: number;
}

/** What an entry costs besides its value. */
const entryBytes = 256;

/** What was asked for last of what was made, or is being made. */
export class SharedCache<Value> {
  readonly #options: SharedCacheOptions<Value>;
  /** The one that was asked for longest ago first. */
  readonly #entries = new Map<string, Entry<Value>>();
  #bytes = 0;

  constructor(options: SharedCacheOptions<Value>) {
    this.#options = options;
  }

  /** What is kept under the key, or undefined. */
  find(key: string): Value | Promise<Value> | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (this.#isOld(entry)) {
      this.forget(key);
      return undefined;
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.made;
  }

  /** Keeps what was made, or is being made, and gives it. What rejects is forgotten. */
  keep<Made extends Value | Promise<Value>>(key: string, made: Made): Made {
    this.#add(key, made, performance.now());
    if (made instanceof Promise) void this.#settle(key, made);
    return made;
  }

  /** Forgets what is kept under the key. */
  forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
  }

  async #settle(key: string, made: Promise<Value>): Promise<void> {
    try {
      const value = await made;
      const entry = this.#entries.get(key);
      if (entry?.made === made) this.#add(key, value, entry.keptAtMs);
    } catch {
      if (this.#entries.get(key)?.made === made) this.forget(key); // whoever asked for it has the error
    }
  }

  #add(key: string, made: Value | Promise<Value>, keptAtMs: number): void {
    this.forget(key);
    const bytes = entryBytes + (made instanceof Promise ? 0 : this.#options.bytesOf(made));
    this.#entries.set(key, { made, bytes, keptAtMs });
    this.#bytes += bytes;
    for (const [oldest, entry] of this.#entries) {
      if (this.#bytes <= this.#options.bytesMax && !this.#isOld(entry)) return;
      this.forget(oldest);
    }
  }

  #isOld({ keptAtMs }: Entry<Value>): boolean {
    return performance.now() - keptAtMs > this.#options.ageMsMax;
  }
}
