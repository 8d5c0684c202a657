import { deliveryStatuses } from '../../src/domain/delivery.ts';
import type { ChaosOutcome, StoredAttempt, StoredDelivery } from './chaos-outcome.ts';
import { findUnexplained, repeatedArrivals } from './chaos-repeats.ts';
import type { ChaosArrival } from './chaos-receivers.ts';
import {
  chaosProjectCount,
  eventTypesOf,
  hopeless,
  placeOfEvent,
  receiverPlans,
  webhooksPerEvent,
  works,
} from './chaos-tempers.ts';
import { attemptName } from './crash-projects.ts';

// What a run proves, each as the list of what speaks against it: empty is the proof.

/** Every event was accepted, once, and no client was told of a fault of ours. */
export function checkAccepted(outcome: ChaosOutcome): string[] {
  const { accepted, eventCount, storedEventIds, trouble } = outcome;
  const ids = new Set(accepted.map(({ id }) => id));
  const problems = storedEventIds.filter((id) => !ids.has(id)).map((id) => `${id} is stored and was not answered for`);
  if (ids.size !== eventCount) problems.push(`${ids.size} of ${eventCount} events were accepted`);
  if (storedEventIds.length !== eventCount)
    problems.push(`${storedEventIds.length} of ${eventCount} events are stored`);
  const internalCount = trouble.get('INTERNAL') ?? 0;
  if (internalCount > 0) problems.push(`${internalCount} calls were answered with INTERNAL`);
  return problems;
}

/** Per project: accepted is the sum of the statuses and the number of rows, one per event and webhook that takes it. */
export function checkLedger({ deliveries, apiCounts, eventCount }: ChaosOutcome): string[] {
  return apiCounts.flatMap(({ all, ...counts }, project) => {
    const rows = deliveries.filter((delivery) => delivery.project === project);
    const pairCount = new Set(rows.map(({ eventId, place }) => `${eventId} ${place}`)).size;
    const accepted = Math.ceil((eventCount - project) / chaosProjectCount) * webhooksPerEvent;
    const sum = deliveryStatuses.reduce((total, status) => total + (counts[status] ?? Number.NaN), 0);
    const isExact = [rows.length, pairCount, all, sum].every((count) => count === accepted);
    const found = `accepted ${accepted}, rows ${rows.length}, pairs ${pairCount}, API ${all}, sum of statuses ${sum}`;
    return isExact ? [] : [`project ${project}: ${found}`];
  });
}

/** Everything to a receiver that works came there, by its own account, was answered with success, and is DELIVERED. */
export function checkArrived(outcome: ChaosOutcome): string[] {
  const { accepted, arrivals, deliveries } = outcome;
  const taken = new Set(arrivals.filter(isTaken).map(({ place, eventNumber }) => `${place} ${eventNumber}`));
  const missing = accepted.flatMap(({ number }) =>
    placesOf(number).flatMap((place) => (taken.has(`${place} ${number}`) ? [] : [`event ${number} at ${place}`])),
  );
  const others = deliveries.filter(({ temper, status }) => works(temper) && status !== 'DELIVERED');
  return [
    ...missing.map((what) => `${what} never came`),
    ...others.map(({ id, temper, status }) => `${id} to ${temper} is ${status}`),
  ];
}

/** Whether the receiver answered with success. */
function isTaken({ answered }: ChaosArrival): boolean {
  return answered === 200;
}

/** The places of the receivers that an event goes to and that work. */
function placesOf(eventNumber: number): number[] {
  const { project, type } = placeOfEvent(eventNumber);
  return receiverPlans.flatMap(({ temper }, place) =>
    works(temper) && eventTypesOf(place).includes(type) ? [project * receiverPlans.length + place] : [],
  );
}

/** What goes to receivers that never work is given up after its attempts, each as late as planned, or waits for them. */
export function checkHopeless({ deliveries, attempts }: ChaosOutcome): string[] {
  const attemptsOf = Map.groupBy(attempts, ({ deliveryId }) => deliveryId);
  const theirs = deliveries.filter(({ temper }) => !works(temper));
  const problems = theirs.flatMap((delivery) => problemOfHopeless(delivery, attemptsOf.get(delivery.id) ?? []));
  return theirs.some(({ status }) => status === 'FAILED') ? problems : ['none was given up', ...problems];
}

function problemOfHopeless(delivery: StoredDelivery, attempts: readonly StoredAttempt[]): string[] {
  const { id, status, attemptCount, failureReason } = delivery;
  const isExpected =
    status === 'FAILED'
      ? attemptCount === hopeless.maxAttempts && failureReason === 'EXHAUSTED'
      : status === (attemptCount === 0 ? 'PENDING' : 'RETRYING') && attemptCount < hopeless.maxAttempts;
  const early = attempts.slice(1).filter(({ number, startedAtMs }, index) => {
    const before = attempts[index];
    if (before === undefined || before.number === number) return false;
    const waitMs = (hopeless.retrySchedule[before.number - 1] ?? 0) * 1_000;
    return startedAtMs - before.startedAtMs - before.durationMs < waitMs * leastJitter - clockStepMs;
  });
  return [
    ...(isExpected ? [] : [`${id} is ${status} ${failureReason ?? ''} after ${attemptCount} attempts`]),
    ...early.map(({ number }) => `attempt ${number} of ${id} came early`),
  ];
}

/** A wait is jittered by 20 %; its ends are rounded to milliseconds. */
const leastJitter = 0.8;
const clockStepMs = 5;

/** A request that came again had been in flight when its sender, or Postgres, was killed. */
export function checkRepeats(outcome: ChaosOutcome): string[] {
  return findUnexplained(outcome, repeatedArrivals(outcome)).map(
    ({ deliveryId, attemptNumber, sender, atMs }) =>
      `attempt ${attemptNumber} of ${deliveryId} by ${sender ?? 'somebody'} at ${new Date(atMs).toISOString()} was repeated`,
  );
}

/** All requests of an event bear one id and one body, and every signature is genuine. */
export function checkSame({ arrivals }: ChaosOutcome): string[] {
  const different = [...Map.groupBy(arrivals, ({ eventNumber }) => eventNumber)].filter(
    ([, requests]) => new Set(requests.map(({ messageId, bodyHash }) => `${messageId} ${bodyHash}`)).size > 1,
  );
  const forged = arrivals.filter(({ isGenuine }) => !isGenuine);
  const idCount = new Set(arrivals.map(({ messageId }) => messageId)).size;
  const eventCount = new Set(arrivals.map(({ eventNumber }) => eventNumber)).size;
  return [
    ...different.map(([number]) => `event ${number} came in different forms`),
    ...forged.map(({ deliveryId, attemptNumber }) => `attempt ${attemptNumber} of ${deliveryId} does not verify`),
    ...(idCount === eventCount ? [] : [`${eventCount} events bear ${idCount} ids`]),
  ];
}

/**
 * Every attempt that a receiver saw is recorded, unless it was in flight at a kill and was not made again for a receiver
 * that never works; and every answer that is recorded was given.
 */
export function checkAttempts(outcome: ChaosOutcome): string[] {
  const { arrivals, attempts } = outcome;
  const recorded = new Set(attempts.map(nameOfStored));
  const answers = new Set(arrivals.map((arrival) => `${nameOf(arrival)} ${arrival.answered}`));
  const unrecorded = arrivals.filter((arrival) => !recorded.has(nameOf(arrival)));
  const lost = unrecorded.filter(({ answered }) => answered !== null);
  const unexplained = findUnexplained(outcome, unrecorded);
  const invented = attempts.filter(
    (attempt) => attempt.responseStatus !== null && !answers.has(`${nameOfStored(attempt)} ${attempt.responseStatus}`),
  );
  return [
    ...[...new Set([...lost, ...unexplained])].map((arrival) => `${nameOf(arrival)} came and is not recorded`),
    ...invented.map((attempt) => `${nameOfStored(attempt)} is recorded with an answer that nobody gave`),
  ];
}

function nameOf({ deliveryId, attemptNumber }: ChaosArrival): string {
  return attemptName(deliveryId, attemptNumber);
}

function nameOfStored({ deliveryId, number }: StoredAttempt): string {
  return attemptName(deliveryId, number);
}

/** What a subscriber may be told, because the README says what to do then. */
const expectedRefusals = new Set(['CURSOR_EXPIRED', 'UNAVAILABLE']);

/** Each subscriber has every delivery of its project as Postgres has it, and no other, and met nothing that it could not expect. */
export function checkSubscribers({ subscribers, deliveries }: ChaosOutcome): string[] {
  return subscribers.flatMap(({ name, project, view, figures: { refusals } }) => {
    const rows = deliveries.filter((delivery) => delivery.project === project);
    const different = rows.flatMap(({ id, status, attemptCount }) => {
      const seen = view.get(id);
      if (seen?.status === status && seen.attemptCount === attemptCount) return [];
      const has = seen === undefined ? 'nothing' : `${seen.status} after ${seen.attemptCount}`;
      return [`${name} has ${has} of ${id}, which is ${status} after ${attemptCount}`];
    });
    const unexpected = [...refusals.keys()].filter((code) => !expectedRefusals.has(code));
    return [
      ...different,
      ...unexpected.map((code) => `${name} was told ${code}`),
      ...(view.size > rows.length ? [`${name} has ${view.size} of ${rows.length}`] : []),
    ];
  });
}
