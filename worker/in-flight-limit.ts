/** Bounds how many deliveries are under way at once in this process. */
export interface InFlightLimit {
  /** Runs the work once there is room. */
  run: (work: () => Promise<void>) => Promise<void>;
  /** Deliveries under way. */
  count: () => number;
}

/**
 * Creates the limit: at most `max` works run at once, and they start in the order in which they came. It counts single
 * deliveries and not jobs, so that a hanging member of a job holds one place and not fifty.
 */
export function createInFlightLimit(max: number): InFlightLimit {
  let inFlight = 0;
  const waiting: (() => void)[] = [];

  function startNext(): void {
    if (inFlight === max) return;
    const start = waiting.shift();
    if (start === undefined) return;
    inFlight += 1;
    start();
  }

  return {
    run: async (work) => {
      await new Promise<void>((start) => {
        waiting.push(start);
        startNext();
      });
      try {
        await work();
      } finally {
        inFlight -= 1;
        startNext();
      }
    },
    count: () => inFlight,
  };
}
