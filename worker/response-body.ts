import { constants, createBrotliDecompress, createGunzip, createInflate, createInflateRaw } from 'node:zlib';
import type { Transform } from 'node:stream';
import { decodeText, storableText } from './response-text.ts';

/** Most bytes of a response body that are read, before and after decompression. */
export const responseBodyBytesMax = 64 * 1024;

/** Most bytes of a response body that are stored. */
export const snippetBytesMax = 4096;

type ContentCoding = 'gzip' | 'deflate' | 'br';

/** What was read of a response body. */
export interface BodyReading {
  /** Storable text of at most `snippetBytesMax` bytes. */
  text: string;
  /** Whether there was more than `responseBodyBytesMax`. */
  isTooLarge: boolean;
  /** Whether the body is not what its content-encoding says. */
  isCorrupt: boolean;
}

/**
 * A response body as it arrives, in bounded memory. Requests ask for no compression; receivers that compress
 * nevertheless are read with gzip, deflate and br, and shown as they are with any other coding.
 */
export class ResponseBody {
  readonly #coding: ContentCoding | null;
  readonly #chunks: Buffer[] = [];
  #byteCount = 0;

  constructor(contentEncoding: string | string[] | undefined) {
    this.#coding = contentEncoding === undefined ? null : codingOf(contentEncoding);
  }

  /** Takes the next bytes; false when the body is too large, and nothing more need come. */
  push(chunk: Buffer): boolean {
    if (this.#coding !== null || this.#byteCount < snippetBytesMax) this.#chunks.push(chunk);
    this.#byteCount += chunk.length;
    return this.#byteCount <= responseBodyBytesMax;
  }

  /** What has arrived so far; at once when it was not compressed. */
  read(): BodyReading | Promise<BodyReading> {
    const bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    const isTooLarge = this.#byteCount > responseBodyBytesMax;
    if (bytes === undefined || bytes.length === 0) return { text: '', isTooLarge, isCorrupt: false };
    if (this.#coding !== null) return decompress(bytes.subarray(0, responseBodyBytesMax), this.#coding, isTooLarge);
    return { text: snippetOf(bytes), isTooLarge, isCorrupt: false };
  }
}

function snippetOf(bytes: Buffer): string {
  const isCut = bytes.length > snippetBytesMax;
  return storableText(decodeText(isCut ? bytes.subarray(0, snippetBytesMax) : bytes, isCut), snippetBytesMax);
}

function codingOf(contentEncoding: string | string[]): ContentCoding | null {
  switch (String(contentEncoding).trim().toLowerCase()) {
    case 'gzip':
    case 'x-gzip':
      return 'gzip';
    case 'deflate':
      return 'deflate';
    case 'br':
      return 'br';
    default:
      return null;
  }
}

/** Decompresses up to the limit, and stops there however much the rest would give. */
async function decompress(bytes: Buffer, coding: ContentCoding, isCompressedTooLarge: boolean): Promise<BodyReading> {
  const chunks: Buffer[] = [];
  let byteCount = 0;
  let isCorrupt = false;
  const decoder = decoderOf(coding, bytes);
  decoder.end(bytes);
  try {
    for await (const chunk of decoder) {
      if (!Buffer.isBuffer(chunk)) continue;
      if (byteCount < snippetBytesMax) chunks.push(chunk);
      byteCount += chunk.length;
      if (byteCount > responseBodyBytesMax) break;
    }
  } catch {
    isCorrupt = true;
  }
  const isTooLarge = isCompressedTooLarge || byteCount > responseBodyBytesMax;
  return { text: snippetOf(Buffer.concat(chunks)), isTooLarge, isCorrupt };
}

/** A body that was cut off gives what it holds: the flush settings make the decoders accept an early end. */
function decoderOf(coding: ContentCoding, bytes: Buffer): Transform {
  if (coding === 'br') return createBrotliDecompress({ finishFlush: constants.BROTLI_OPERATION_FLUSH });
  const options = { finishFlush: constants.Z_SYNC_FLUSH };
  if (coding === 'gzip') return createGunzip(options);
  // "deflate" means the zlib format (RFC 9110 §8.4.1.2), but some servers send the bare stream.
  return ((bytes[0] ?? 0) & 0x0f) === 8 ? createInflate(options) : createInflateRaw(options);
}
