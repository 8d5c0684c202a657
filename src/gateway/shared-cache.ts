/** What was made and asked for last, or is being made, at most `bytesMax` bytes of it. */
export class SharedCache<Value> {
  readonly #bytesMax: number;
  readonly #bytesOf: (value: Value) => number;
  readonly #entries = new Map<string, Value | Promise<Value>>();
  #bytes = 0;

  /** `bytesOf` does not change its mind about a value. */
  constructor(bytesMax: number, bytesOf: (value: Value) => number) {
    this.#bytesMax = bytesMax;
    this.#bytesOf = bytesOf;
  }

  /** What is kept under the key, or undefined. */
  find(key: string): Value | Promise<Value> | undefined {
    const known = this.#entries.get(key);
    if (known === undefined) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, known);
    return known;
  }

  /** Keeps what was made, or is being made, and gives it. What rejects is forgotten. */
  keep<Made extends Value | Promise<Value>>(key: string, made: Made): Made {
    this.#add(key, made);
    if (made instanceof Promise) void this.#settle(key, made);
    return made;
  }

  /** Forgets what is kept under the key. */
  forget(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= this.#sizeOf(entry);
  }

  async #settle(key: string, made: Promise<Value>): Promise<void> {
    try {
      const value = await made;
      if (this.#entries.get(key) !== made) return;
      this.forget(key);
      this.#add(key, value);
    } catch {
      if (this.#entries.get(key) === made) this.forget(key); // whoever asked for it has the error
    }
  }

  #add(key: string, entry: Value | Promise<Value>): void {
    this.#entries.set(key, entry);
    this.#bytes += this.#sizeOf(entry);
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#bytesMax) return;
      this.forget(oldest);
    }
  }

  #sizeOf(entry: Value | Promise<Value>): number {
    return entryBytes + (entry instanceof Promise ? 0 : this.#bytesOf(entry));
  }
}

/** What an entry costs besides its value. */
const entryBytes = 256;
