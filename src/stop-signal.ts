/** How long a graceful stop may take in all before the process ends anyway: the parts' own limits, and some. */
const stopLimitMs = 40_000;

/** A stop as the process goes through it. */
export interface StopOptions {
  /** What the stop waits for on purpose, in milliseconds, on top of the limit. */
  delayMs: number;
  /** Told that the stop hangs and the process ends now, after this many milliseconds. */
  onHanging: (waitedMs: number) => void;
}

/**
 * Resolves at the first SIGINT or SIGTERM. From then on a second one ends the process at once with code 130, and a stop
 * that hangs ends it with code 1.
 */
export async function untilStopSignal({ delayMs, onHanging }: StopOptions): Promise<void> {
  const limitMs = stopLimitMs + delayMs;
  const giveUp = (): void => {
    onHanging(limitMs);
    process.exit(1);
  };
  await new Promise<void>((resolve) => {
    let asked = false;
    const stop = (): void => {
      if (asked) process.exit(130);
      asked = true;
      setTimeout(giveUp, limitMs).unref();
      resolve();
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}
