/** What a schema counts for however short it is. */
const bytesMin = 1024;

interface Kept<Value> {
  value: Value;
  bytes: number;
}

interface Share<Value> {
  bytes: number;
  /** By type; those used last stand last. */
  kept: Map<string, Kept<Value>>;
}

/**
 * Keeps something for the types of projects, up to a number of bytes of their schemas. When it is full the project that has
 * the most loses what it used least recently: one with many large schemas displaces its own and not the others'.
 */
export class SchemaCache<Value> {
  readonly #bytesMax: number;
  readonly #shares = new Map<string, Share<Value>>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Gives what is kept for a type, which counts as a use of it. */
  find(projectId: string, type: string): Value | undefined {
    const share = this.#shares.get(projectId);
    const found = share?.kept.get(type);
    if (share === undefined || found === undefined) return undefined;
    share.kept.delete(type);
    share.kept.set(type, found);
    return found.value;
  }

  /** Keeps it, and forgets as much else as it takes. */
  keep(projectId: string, type: string, value: Value, textBytes: number): void {
    this.forget(projectId, type);
    const share = this.#shares.get(projectId) ?? { bytes: 0, kept: new Map<string, Kept<Value>>() };
    const bytes = Math.max(textBytes, bytesMin);
    share.kept.set(type, { value, bytes });
    share.bytes += bytes;
    this.#bytes += bytes;
    this.#shares.set(projectId, share);
    while (this.#bytes > this.#bytesMax) this.#forgetOne();
  }

  /** Forgets what is kept for a type, if anything is. */
  forget(projectId: string, type: string): void {
    const share = this.#shares.get(projectId);
    const found = share?.kept.get(type);
    if (share === undefined || found === undefined) return;
    share.kept.delete(type);
    share.bytes -= found.bytes;
    this.#bytes -= found.bytes;
    if (share.kept.size === 0) this.#shares.delete(projectId);
  }

  #forgetOne(): void {
    const shares = [...this.#shares];
    const [projectId, share] = shares.reduce((most, other) => (other[1].bytes > most[1].bytes ? other : most));
    for (const type of share.kept.keys()) {
      this.forget(projectId, type);
      return;
    }
  }
}
