import { within } from '../time-limit.ts';

export interface BoundedSourceOptions<Value> {
  /** What is asked, as an error names it. */
  what: string;
  load: () => Promise<Value>;
  /** For how long an answer is given again, a failure too, in milliseconds from the asking. */
  freshMs: number;
  /** How long anybody waits for it, in milliseconds. */
  limitMs: number;
  /** Told once of each asking that failed or took too long. */
  onError: (error: unknown) => void;
  /** A clock in milliseconds; default the process's. */
  nowMs?: () => number;
}

/**
 * Gives the function that reads a value which others have to be asked for: however many read, it is asked for once in
 * `freshMs`, and never again while it has not answered. Null when it failed or did not answer in time; never rejects.
 */
export function createBoundedSource<Value>({
  what,
  load,
  freshMs,
  limitMs,
  onError,
  nowMs = () => performance.now(),
}: BoundedSourceOptions<Value>): () => Promise<Value | null> {
  let answer: Promise<Value | null> = Promise.resolve(null);
  let staleAtMs = -Infinity;
  let isLoading = false;

  async function loadOnce(): Promise<Value> {
    try {
      return await load();
    } finally {
      isLoading = false;
    }
  }

  async function ask(): Promise<Value | null> {
    isLoading = true;
    try {
      return await within(limitMs, what, loadOnce());
    } catch (error) {
      onError(error);
      return null;
    }
  }

  return async () => {
    if (!isLoading && nowMs() >= staleAtMs) {
      staleAtMs = nowMs() + freshMs;
      answer = ask();
    }
    return await answer;
  };
}
