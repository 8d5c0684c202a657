/** How long a graceful stop may take in all before the process ends anyway: the parts' own limits, and some. */
const stopLimitMs = 40_000;

/**
 * Resolves at the first SIGINT or SIGTERM. From then on a second one ends the process at once with code 130, and a stop
 * that hangs ends it with code 1.
 */
export async function untilStopSignal(): Promise<void> {
  await new Promise<void>((resolve) => {
    let asked = false;
    const stop = (): void => {
      if (asked) process.exit(130);
      asked = true;
      setTimeout(() => process.exit(1), stopLimitMs).unref();
      resolve();
    };
    process.on('SIGINT', stop);
    process.on('SIGTERM', stop);
  });
}
