import { describe, expect, test } from 'vitest';
import {
  checkAccepted,
  checkArrived,
  checkAttempts,
  checkHopeless,
  checkLedger,
  checkRepeats,
  checkSame,
  checkSubscribers,
} from '../support/chaos-checks.ts';
import type { ChaosFault } from '../support/chaos-faults.ts';
import type { ChaosOutcome, StoredAttempt, StoredDelivery } from '../support/chaos-outcome.ts';
import type { ChaosArrival } from '../support/chaos-receivers.ts';
import type { SeenDelivery } from '../support/chaos-subscriber.ts';
import { chaosProjectCount, eventTypesOf, placeOfEvent, receiverPlans, works } from '../support/chaos-tempers.ts';

// A proof by chaos is worth what its checks can find: each is shown a run that is as it must be, and one that is not.

const eventCount = 40;
const startedAtMs = 1_000_000;

/** A run in which everything went well, with attempts of the hopeless used up in time. */
function goodOutcome(): ChaosOutcome {
  const deliveries: StoredDelivery[] = [];
  const arrivals: ChaosArrival[] = [];
  const attempts: StoredAttempt[] = [];
  for (let number = 0; number < eventCount; number += 1) {
    for (const delivery of deliveriesOf(number)) {
      deliveries.push(delivery);
      for (let attempt = 1; attempt <= delivery.attemptCount; attempt += 1) {
        const atMs = startedAtMs + number * 100 + attempt * 4_000;
        attempts.push(attemptOf(delivery, attempt, atMs));
        if (delivery.temper !== 'REFUSING') arrivals.push(arrivalOf(delivery, attempt, number, atMs));
      }
    }
  }
  const ids = Array.from({ length: eventCount }, (_, number) => eventId(number));
  return {
    eventCount,
    phases: { startedAtMs, emittedAtMs: startedAtMs, deliveredAtMs: startedAtMs, agreedAtMs: startedAtMs },
    accepted: ids.map((id, number) => ({ id, number, atMs: startedAtMs + number * 100 })),
    trouble: new Map([['UNAVAILABLE', 3]]),
    duplicateAnswerCount: 0,
    faults: [],
    arrivals,
    deliveries,
    attempts,
    storedEventIds: ids,
    apiCounts: [0, 1].map((project) => countsOf(deliveries.filter((delivery) => delivery.project === project))),
    ownEnds: [],
    failingCounts: new Map(),
    subscribers: [0, 1].map((project) => subscriberOf(deliveries, project)),
    open: [],
  };
}

function eventId(number: number): string {
  return `evt_${number}`;
}

function deliveriesOf(number: number): StoredDelivery[] {
  const { project, type } = placeOfEvent(number);
  return receiverPlans.flatMap(({ temper }, placeInProject) => {
    if (!eventTypesOf(placeInProject).includes(type)) return [];
    const end = works(temper)
      ? { status: 'DELIVERED' as const, attemptCount: 1, maxAttempts: 50, failureReason: null }
      : { status: 'FAILED' as const, attemptCount: 3, maxAttempts: 3, failureReason: 'EXHAUSTED' };
    const place = project * receiverPlans.length + placeInProject;
    return [{ id: `dlv_${number}_${place}`, eventId: eventId(number), place, project, temper, ...end }];
  });
}

function attemptOf({ id, temper }: StoredDelivery, number: number, atMs: number): StoredAttempt {
  const answer = works(temper)
    ? { responseStatus: 200, errorCode: null }
    : { responseStatus: null, errorCode: 'TIMEOUT' };
  return { deliveryId: id, number, ...answer, startedAtMs: atMs, durationMs: 1_000 };
}

function arrivalOf({ id, place, temper }: StoredDelivery, number: number, event: number, atMs: number): ChaosArrival {
  return {
    place,
    deliveryId: id,
    attemptNumber: number,
    messageId: eventId(event),
    eventNumber: event,
    bodyHash: `body ${event}`,
    sender: 'worker-1-1',
    isGenuine: true,
    answered: works(temper) ? 200 : null,
    atMs,
  };
}

function countsOf(deliveries: readonly StoredDelivery[]): Record<string, number> {
  const zeros = { PENDING: 0, DELIVERING: 0, RETRYING: 0, SKIPPED: 0, CANCELLED: 0 };
  const count = (status: string): number => deliveries.filter((delivery) => delivery.status === status).length;
  return { ...zeros, all: deliveries.length, DELIVERED: count('DELIVERED'), FAILED: count('FAILED') };
}

function subscriberOf(deliveries: readonly StoredDelivery[], project: number): ChaosOutcome['subscribers'][number] {
  const theirs = deliveries.filter((delivery) => delivery.project === project);
  const view = new Map<string, SeenDelivery>(theirs.map((each) => [each.id, each]));
  const figures = { itemCount: 0, resumeCount: 0, expiryCount: 0, listSeconds: 0, lateCount: 0, refusals: new Map() };
  return { name: `of ${project}`, project, view, figures };
}

const good = goodOutcome();

/** The good run with one thing of a list changed. */
function withChanged<Key extends 'arrivals' | 'attempts' | 'deliveries'>(
  key: Key,
  is: (item: ChaosOutcome[Key][number]) => boolean,
  change: Partial<ChaosOutcome[Key][number]>,
): ChaosOutcome {
  const items: readonly ChaosOutcome[Key][number][] = good[key];
  const index = items.findIndex(is);
  expect(index).toBeGreaterThanOrEqual(0);
  return { ...good, [key]: items.with(index, { ...items[index], ...change } as ChaosOutcome[Key][number]) };
}

function isOfWorking({ temper }: StoredDelivery): boolean {
  return works(temper);
}

const firstArrival = good.arrivals[0];
if (firstArrival === undefined) throw new Error('the good run has no requests');

/** A worker was killed half a second after the first request; of that nothing was recorded. */
function killOf(life: string, recorded: readonly string[] = []): ChaosFault {
  const atMs = (firstArrival?.atMs ?? 0) + 500;
  const loss = { lives: new Set([life]), recorded: new Set(recorded), atMs };
  return { kind: 'kill a worker', target: life, atMs, backAtMs: atMs, loss };
}

const repeated = { ...good, arrivals: [...good.arrivals, { ...firstArrival, atMs: firstArrival.atMs + 9_000 }] };

const resent = {
  ...good,
  arrivals: [...good.arrivals, { ...firstArrival, attemptNumber: 2, atMs: firstArrival.atMs + 9_000 }],
};
const timedOut = {
  ...resent,
  attempts: good.attempts.map((attempt) =>
    attempt.deliveryId === firstArrival.deliveryId
      ? { ...attempt, responseStatus: null, errorCode: 'TIMEOUT' }
      : attempt,
  ),
};

describe('the checks of a chaos run', () => {
  test.each([
    checkAccepted,
    checkLedger,
    checkArrived,
    checkHopeless,
    checkRepeats,
    checkSame,
    checkAttempts,
    checkSubscribers,
  ])('find nothing in a run that is as it must be ($name)', (check) => {
    expect(chaosProjectCount).toBe(2);
    expect(check(good)).toEqual([]);
  });

  test.each<[string, (outcome: ChaosOutcome) => string[], ChaosOutcome]>([
    ['an event that is not stored', checkAccepted, { ...good, storedEventIds: good.storedEventIds.slice(1) }],
    ['an event that nobody was told of', checkAccepted, { ...good, accepted: good.accepted.slice(1) }],
    ['an event that was stored twice', checkAccepted, { ...good, storedEventIds: [...good.storedEventIds, 'evt_2nd'] }],
    ['an unexpected error', checkAccepted, { ...good, trouble: new Map([['INTERNAL', 1]]) }],
    ['a delivery too few', checkLedger, { ...good, deliveries: good.deliveries.slice(1) }],
    ['two deliveries of one event to one webhook', checkLedger, withChanged('deliveries', isOfWorking, { place: 8 })],
    ['a delivery that the API counts in no status', checkLedger, withCount('DELIVERED', -1)],
    ['a delivery that the API does not count', checkLedger, withCount('all', -1)],
    ['a delivery that never came', checkArrived, { ...good, arrivals: good.arrivals.slice(1) }],
    ['one that was only refused', checkArrived, withChanged('arrivals', () => true, { answered: 500 })],
    ['one that is still retried', checkArrived, withChanged('deliveries', isOfWorking, { status: 'RETRYING' })],
    ['a hopeless one delivered', checkHopeless, withChanged('deliveries', isHopeless, { status: 'DELIVERED' })],
    ['a hopeless one given up early', checkHopeless, withChanged('deliveries', isHopeless, { attemptCount: 2 })],
    [
      'a hopeless one retried early',
      checkHopeless,
      withChanged('attempts', ({ number }) => number === 2, { startedAtMs }),
    ],
    ['a repeat without a fault', checkRepeats, repeated],
    ['another attempt at what was taken and recorded so', checkRepeats, resent],
    [
      'a repeat that another worker’s end does not explain',
      checkRepeats,
      { ...repeated, faults: [killOf('worker-2-1')] },
    ],
    [
      'a repeat of what was recorded before its sender’s end',
      checkRepeats,
      { ...repeated, faults: [killOf('worker-1-1', [`${firstArrival.deliveryId} 1`])] },
    ],
    ['another body', checkSame, { ...repeated, arrivals: [...good.arrivals, { ...firstArrival, bodyHash: 'other' }] }],
    ['another id', checkSame, { ...repeated, arrivals: [...good.arrivals, { ...firstArrival, messageId: 'evt_x' }] }],
    ['a forged signature', checkSame, withChanged('arrivals', () => true, { isGenuine: false })],
    ['an attempt that is not recorded', checkAttempts, { ...good, attempts: good.attempts.slice(1) }],
    ['an answer that nobody gave', checkAttempts, withChanged('attempts', () => true, { responseStatus: 204 })],
    ['a subscriber without a delivery', checkSubscribers, withView((view, id) => view.delete(id))],
    [
      'a subscriber that missed an attempt',
      checkSubscribers,
      withView((view, id) => view.set(id, { status: 'PENDING', attemptCount: 0 })),
    ],
    [
      'a subscriber with a delivery that is not',
      checkSubscribers,
      withView((view) => view.set('dlv_other', { status: 'PENDING', attemptCount: 0 })),
    ],
    ['a subscriber that was told of a bug', checkSubscribers, withRefusal('INTERNAL')],
  ])('find %s', (_what, check, outcome) => {
    expect(check(outcome)).not.toEqual([]);
  });

  test('take another attempt after one that is recorded as failed as what it is, though the receiver took both', () => {
    expect(checkRepeats(timedOut)).toEqual([]);
  });

  test('take a repeat of what was in flight when its sender was killed as explained', () => {
    expect(checkRepeats({ ...repeated, faults: [killOf('worker-1-1')] })).toEqual([]);
  });
});

function isHopeless({ temper }: StoredDelivery): boolean {
  return !works(temper);
}

function withCount(name: string, change: number): ChaosOutcome {
  const [first = {}, ...others] = good.apiCounts;
  return { ...good, apiCounts: [{ ...first, [name]: (first[name] ?? 0) + change }, ...others] };
}

/** The good run with the first subscriber's view changed; `id` is of a delivery that it has. */
function withView(change: (view: Map<string, SeenDelivery>, id: string) => void): ChaosOutcome {
  const subscribers = good.subscribers.map((subscriber, index) => {
    const view = new Map(subscriber.view);
    const [id = ''] = view.keys();
    if (index === 0) change(view, id);
    return Object.assign({}, subscriber, { view });
  });
  return { ...good, subscribers };
}

/** The good run with each subscriber told of an error with this code. */
function withRefusal(code: string): ChaosOutcome {
  const subscribers = good.subscribers.map((subscriber) =>
    Object.assign({}, subscriber, { figures: { ...subscriber.figures, refusals: new Map([[code, 1]]) } }),
  );
  return { ...good, subscribers };
}
