import { recordedSinceMs } from './chaos-faults.ts';
import type { RecordLoss } from './chaos-faults.ts';
import type { ChaosOutcome } from './chaos-outcome.ts';
import type { ChaosArrival } from './chaos-receivers.ts';
import { attemptName } from './crash-projects.ts';

// Requests that were made again, and the faults that explain them: a worker that is killed, or whose Postgres crashes,
// cannot record what it has sent.

/**
 * The requests that should have been the last of their delivery, or of their attempt, and were not: another of the same
 * attempt came later, or the receiver had taken it, its answer is recorded, and it was sent again all the same.
 */
export function repeatedArrivals({ arrivals, attempts }: Pick<ChaosOutcome, 'arrivals' | 'attempts'>): ChaosArrival[] {
  const recordedAsTaken = new Set(
    attempts
      .filter(({ responseStatus }) => responseStatus === 200)
      .map(({ deliveryId, number }) => attemptName(deliveryId, number)),
  );
  return [...Map.groupBy(arrivals, ({ deliveryId }) => deliveryId).values()].flatMap((requests) =>
    requests.filter((request, index) => {
      const later = requests.slice(index + 1);
      const isSameAgain = later.some(({ attemptNumber }) => attemptNumber === request.attemptNumber);
      return isSameAgain || (later.length > 0 && recordedAsTaken.has(nameOf(request)));
    }),
  );
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
