/** Bounds how many deliveries are under way at once in this process. */
export interface InFlightLimit {
  /** Runs the work once there is room; `weight` deliveries count as under way until it has ended. */
  run: (weight: number, work: () => Promise<void>) => Promise<void>;
  /** Deliveries under way. */
  count: () => number;
}

/**
 * Creates the limit. Work starts in the order in which it came, as soon as fewer than `max` are under way; the last to
 * start may pass `max` by its weight less one, so that a batch larger than the room left still runs.
 */
export function createInFlightLimit(max: number): InFlightLimit {
  let inFlight = 0;
  const waiting: { weight: number; start: () => void }[] = [];

  function startNext(): void {
    while (inFlight < max) {
      const next = waiting.shift();
      if (next === undefined) return;
      inFlight += next.weight;
      next.start();
    }
  }

  return {
    run: async (weight, work) => {
      await new Promise<void>((start) => {
        waiting.push({ weight, start });
        startNext();
      });
      try {
        await work();
      } finally {
        inFlight -= weight;
        startNext();
      }
    },
    count: () => inFlight,
  };
}
