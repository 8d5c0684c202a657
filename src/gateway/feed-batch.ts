import { fillHoles, frameMessages } from './websocket-frames.ts';
import type { FramedMessages } from './websocket-frames.ts';

/** The result of one item, as its subscribers get it. */
export interface Frame {
  /** The result's JSON. */
  readonly json: Buffer;
  /** Where the item is in the feed; null for what did not come from there, empty when the place before it is lost. */
  readonly cursor: string | null;
  /** The codes of the errors in it. */
  readonly errorCodes: readonly string[];
}

const messageEnd = Buffer.from('}');
/** Lengths of ids for which the bytes are kept; clients mostly take ids of one length. */
const framedKept = 4;

/**
 * Some consecutive items of a feed, as results: put into bytes once for each transport, however many sockets take them.
 */
export class FeedBatch {
  readonly frames: readonly Frame[];
  /** Items of the feed that it stands for, with those that the subscription's filter passes over. */
  readonly itemCount: number;
  /** The place behind it; null when it did not come from the feed. */
  readonly cursor: string | null;
  readonly errorCodes: readonly string[];
  readonly #framed = new Map<number, FramedMessages>();
  #events: Buffer | null = null;

  constructor(frames: readonly Frame[], itemCount: number, cursor: string | null) {
    this.frames = frames;
    this.itemCount = itemCount;
    this.cursor = cursor;
    this.errorCodes = frames.flatMap(({ errorCodes }) => errorCodes);
  }

  /**
   * Gives the bytes of `next` messages that begin with the prefix to `write`, which says whether it has taken them wholly;
   * otherwise they are its own from then on. So most sockets need no copy.
   */
  writeMessages(prefix: Buffer, write: (bytes: Buffer) => boolean): void {
    const framed = this.#framed.get(prefix.length) ?? this.#frame(prefix.length);
    fillHoles(framed, prefix);
    const taken = write(framed.bytes);
    if (!taken) this.#framed.delete(prefix.length);
  }

  /** The bytes of server-sent events. They are shared: nobody changes them. */
  get events(): Buffer {
    return (this.#events ??= Buffer.concat(this.frames.flatMap(eventOf)));
  }

  #frame(prefixBytes: number): FramedMessages {
    const tails = this.frames.map(({ json }) => json);
    const framed = frameMessages(prefixBytes, tails, messageEnd);
    if (this.#framed.size < framedKept) this.#framed.set(prefixBytes, framed);
    return framed;
  }
}

const eventStart = Buffer.from('event: next\ndata: ');
const eventEnd = Buffer.from('\n\n');

/** JSON has no line breaks, so the data is one line. */
function eventOf({ cursor, json }: Frame): Buffer[] {
  const place = cursor === null ? [] : [Buffer.from(`id: ${cursor}\n`)];
  return [...place, eventStart, json, eventEnd];
}
