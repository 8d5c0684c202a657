/**
 * Counts the messages in a server's bytes (RFC 6455 §5.2) as they come, cut anywhere, and gives the text of those that
 * somebody wants. Throws when a frame is masked, in fragments, or anything but text or a ping.
 */
export class FrameCounter {
  readonly #onText: ((text: string) => void) | null;
  count = 0;
  /** Bytes of a frame that has not come wholly. */
  #rest: Buffer | null = null;
  /** Payload bytes still to come that nobody wants. */
  #skipBytes = 0;

  constructor(onText: ((text: string) => void) | null) {
    this.#onText = onText;
  }

  take(chunk: Buffer): void {
    const data = this.#rest === null ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = null;
    let offset = this.#skipBytes;
    while (offset < data.length) {
      const end = this.#takeFrame(data, offset);
      if (end === null) {
        this.#rest = data.subarray(offset);
        this.#skipBytes = 0;
        return;
      }
      offset = end;
    }
    this.#skipBytes = offset - data.length;
  }

  /** Gives where the frame ends, perhaps behind the data; null when more of it is needed first. */
  #takeFrame(data: Buffer, offset: number): number | null {
    const header = readHeader(data, offset);
    if (header === null) return null;
    const end = header.start + header.payloadBytes;
    if (this.#onText !== null && end > data.length) return null;
    if (header.opcode === 1) {
      this.count += 1;
      this.#onText?.(data.toString('utf8', header.start, end));
    }
    return end;
  }
}

function readHeader(data: Buffer, offset: number): { opcode: number; start: number; payloadBytes: number } | null {
  const [first, second] = [data[offset], data[offset + 1]];
  if (first === undefined || second === undefined) return null;
  if ((first !== 0x81 && first !== 0x89) || second > 127) throw new Error(`unexpected frame ${first} ${second}`);
  const opcode = first % 16;
  if (second < 126) return { opcode, start: offset + 2, payloadBytes: second };
  const start = offset + (second === 126 ? 4 : 10);
  if (data.length < start) return null;
  const payloadBytes = second === 126 ? data.readUInt16BE(offset + 2) : Number(data.readBigUInt64BE(offset + 2));
  return { opcode, start, payloadBytes };
}
