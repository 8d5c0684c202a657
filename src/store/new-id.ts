import { randomFillSync } from 'node:crypto';
import { idFromUuid, type Id, type IdKind } from '../domain/ids.ts';

/** Makes a fresh id of the kind. Ids made by one process sort in the order they were made. Source: RFC 9562 §5.7. */
export function newId<Kind extends IdKind>(kind: Kind): Id<Kind> {
  return idFromUuid(kind, newUuid());
}

const counterMax = 0xfff;
const randomBytesMax = 16 * 256;

const makeUuid = createUuidMaker();

/** Makes a fresh UUIDv7 of this moment, in its usual text form. */
export function newUuid(): string {
  return makeUuid(Date.now());
}

/**
 * Gives a function that makes a fresh UUIDv7 of a moment: milliseconds, a counter that starts at random in each of them, and
 * 62 random bits. What it makes sorts in the order it was made: when the counter is used up, or the moment is an earlier
 * one, the time before goes on. Source: RFC 9562 §5.7, and §6.2 method 1.
 */
export function createUuidMaker(): (nowMs: number) => string {
  const random = Buffer.alloc(randomBytesMax);
  let used = random.length;
  let lastMs = 0;
  let counter = 0;

  /** Moves the clock on: to now if that is later, else by one count. A counter starts in its lower half, to have room. */
  function advance(nowMs: number, seed: number): void {
    if (nowMs > lastMs) {
      lastMs = nowMs;
      counter = seed & (counterMax >> 1);
    } else if (counter < counterMax) counter += 1;
    else {
      lastMs += 1;
      counter = 0;
    }
  }

  return (nowMs) => {
    if (used === random.length) {
      randomFillSync(random);
      used = 0;
    }
    const start = used;
    used += 16;
    advance(nowMs, random.readUInt16BE(start));
    random.writeUIntBE(lastMs, start, 6);
    random.writeUInt16BE(0x7000 | counter, start + 6);
    random.writeUInt8((random.readUInt8(start + 8) & 0x3f) | 0x80, start + 8);
    const hex = random.toString('hex', start, start + 16);
    return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
  };
}
