import { randomBytes } from 'node:crypto';
import { FeedError } from './feed.ts';

/** A place in a project's feed: right after item `n` (from 1; 0 is before the first) of one life of its log. */
export interface FeedPosition {
  /** Names one life of the log; a log that was lost starts again under another epoch. */
  epoch: string;
  n: number;
}

/** What a log holds at one moment: items `first` to `head`; `first` is `head + 1` when it holds none. */
export interface LogState {
  epoch: string;
  first: number;
  head: number;
}

const cursorPattern = /^([0-9a-f]{16})-(0|[1-9][0-9]{0,14})$/;

/** A new random epoch: 16 hexadecimal digits. */
export function createEpoch(): string {
  return randomBytes(8).toString('hex');
}

/** The cursor of a place, which clients treat as opaque. */
export function cursorText(epoch: string, n: number): string {
  return `${epoch}-${n}`;
}

/** Reads a cursor. Throws FeedError BAD_CURSOR when the text is not one. */
export function parseCursor(text: string): FeedPosition {
  const [, epoch, n] = cursorPattern.exec(text) ?? [];
  if (epoch === undefined || n === undefined) {
    throw new FeedError('BAD_CURSOR', `${JSON.stringify(text.slice(0, 64))} is not a cursor of the feed.`);
  }
  return { epoch, n: Number(n) };
}

/**
 * Where a subscription starts: after the cursor, or after the newest item when there is none.
 * Throws FeedError CURSOR_EXPIRED when the log cannot give everything after the cursor: it was trimmed past it, or the
 * cursor is of another life of the log (another epoch, or a number that this life has not reached).
 */
export function startPosition(state: LogState, after: FeedPosition | null): FeedPosition {
  if (after === null) return { epoch: state.epoch, n: state.head };
  if (after.epoch !== state.epoch || after.n > state.head || after.n + 1 < state.first) throw cursorExpired(after);
  return after;
}

/** The error for a place that the log no longer keeps. */
export function cursorExpired(position: FeedPosition): FeedError {
  const cursor = cursorText(position.epoch, position.n);
  return new FeedError('CURSOR_EXPIRED', `The feed no longer keeps what followed cursor ${cursor}.`);
}
