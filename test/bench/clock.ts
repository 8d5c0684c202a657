/**
 * Milliseconds on the clock that all processes of a machine share (CLOCK_MONOTONIC), so that one may stamp what another
 * measures. Fractions are kept; the zero is arbitrary.
 */
export function clockMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
