import { recordedSinceMs } from './chaos-faults.ts';
import type { RecordLoss } from './chaos-faults.ts';
import type { ChaosOutcome } from './chaos-outcome.ts';
import type { ChaosArrival } from './chaos-receivers.ts';
import { attemptName } from './crash-projects.ts';

// Requests that were made again, and the faults that explain them: a worker that is killed, or whose Postgres crashes,
// cannot record what it has sent.

/** Requests of attempts that came again later. */
export function repeatedArrivals(arrivals: readonly ChaosArrival[]): ChaosArrival[] {
  return [...Map.groupBy(arrivals, nameOf).values()].flatMap((requests) => requests.slice(0, -1));
}

/** The requests that were in flight at a fault: sent by those it hit, and not recorded when it was over. */
export function inFlightAt(arrivals: readonly ChaosArrival[], { lives, recorded, atMs }: RecordLoss): ChaosArrival[] {
  return arrivals.filter(
    (arrival) =>
      arrival.atMs <= atMs &&
      arrival.atMs > atMs - recordedSinceMs / 2 &&
      (arrival.sender === null || lives.has(arrival.sender)) &&
      !recorded.has(nameOf(arrival)),
  );
}

/** Those of the requests that were in flight at no fault. */
export function findUnexplained(
  { arrivals, faults }: Pick<ChaosOutcome, 'arrivals' | 'faults'>,
  repeated: readonly ChaosArrival[],
): ChaosArrival[] {
  const inFlight = new Set(faults.flatMap(({ loss }) => (loss === null ? [] : inFlightAt(arrivals, loss))));
  return repeated.filter((arrival) => !inFlight.has(arrival));
}

function nameOf({ deliveryId, attemptNumber }: ChaosArrival): string {
  return attemptName(deliveryId, attemptNumber);
}
