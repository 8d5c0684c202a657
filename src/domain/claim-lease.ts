/** On top of an attempt's own limit, what waiting for a socket and recording may take at most, in milliseconds. */
const marginMsMax = 20_000;

/**
 * After how long a claim counts as abandoned, in milliseconds: longer than an attempt with this limit and its record can
 * take, and not much longer where attempts are short.
 */
export function claimLeaseMs(attemptTimeoutMs: number): number {
  return attemptTimeoutMs + Math.min(marginMsMax, 2 * attemptTimeoutMs + 1_000);
}
