// Server frames of RFC 6455 §5.2: one text frame per message, never masked, never compressed.

const finalText = 0x81;
const length16 = 126;
const length64 = 127;

/** Messages in their frames, with a hole in each that takes what differs between the sockets. */
export interface FramedMessages {
  readonly bytes: Buffer;
  /** Where the holes begin. */
  readonly holes: readonly number[];
}

/**
 * Frames messages that are alike but for their beginning: each is a hole of `holeBytes`, then one of `tails`, then
 * `ending`.
 */
export function frameMessages(holeBytes: number, tails: readonly Buffer[], ending: Buffer): FramedMessages {
  const restBytes = holeBytes + ending.length;
  const sizes = tails.map((tail) => headerBytes(restBytes + tail.length) + restBytes + tail.length);
  const bytes = Buffer.allocUnsafeSlow(sizes.reduce((sum, size) => sum + size, 0));
  const holes: number[] = [];
  let offset = 0;
  for (const tail of tails) {
    const hole = writeHeader(bytes, offset, restBytes + tail.length);
    holes.push(hole);
    bytes.set(tail, hole + holeBytes);
    bytes.set(ending, hole + holeBytes + tail.length);
    offset = hole + restBytes + tail.length;
  }
  return { bytes, holes };
}

/** Fills every hole with the same bytes. */
export function fillHoles({ bytes, holes }: FramedMessages, filling: Buffer): void {
  for (const hole of holes) bytes.set(filling, hole);
}

function headerBytes(payloadBytes: number): number {
  if (payloadBytes < length16) return 2;
  return payloadBytes < 0x1_00_00 ? 4 : 10;
}

/** Writes a frame's header and gives the offset behind it. */
function writeHeader(target: Buffer, offset: number, payloadBytes: number): number {
  target[offset] = finalText;
  if (payloadBytes < length16) {
    target[offset + 1] = payloadBytes;
    return offset + 2;
  }
  if (payloadBytes < 0x1_00_00) {
    target[offset + 1] = length16;
    return target.writeUInt16BE(payloadBytes, offset + 2);
  }
  target[offset + 1] = length64;
  return target.writeBigUInt64BE(BigInt(payloadBytes), offset + 2);
}
