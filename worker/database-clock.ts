/** The database's clock, which is one for all workers, as far as its answers have shown it. */
export interface DatabaseClock {
  /** The database's time; this process's own until the database has shown it. */
  now(): Date;
  /** Takes in a moment that the database has named and that has just come. */
  saw(at: Date): void;
}

/** By how much an answer may be late before the database's clock is taken to have been set, in milliseconds. */
const latenessMsMax = 1_000;

/**
 * Creates a clock that follows the database's. Receivers refuse a request whose signed timestamp is minutes off, so that a
 * worker on a machine with a wrong clock would send in vain. `elapsedMs` never steps, as `performance.now`.
 */
export function createDatabaseClock(elapsedMs: () => number = () => performance.now()): DatabaseClock {
  let offsetMs: number | null = null;
  return {
    now: () => (offsetMs === null ? new Date() : new Date(offsetMs + elapsedMs())),
    saw(at) {
      const seenMs = at.getTime() - elapsedMs();
      // The answer that came fastest is nearest to the truth.
      if (offsetMs === null || seenMs > offsetMs || seenMs < offsetMs - latenessMsMax) offsetMs = seenMs;
    },
  };
}
