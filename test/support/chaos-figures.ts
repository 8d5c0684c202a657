import { printTable } from '../bench/table.ts';
import { quantile } from '../bench/quantile.ts';
import { inFlightAt, repeatedArrivals } from './chaos-repeats.ts';
import type { ChaosFault } from './chaos-faults.ts';
import type { MemoryFigures } from './chaos-memory.ts';
import type { ChaosOutcome } from './chaos-outcome.ts';
import type { ChaosArrival } from './chaos-receivers.ts';
import { isHealthy, receiverPlans } from './chaos-tempers.ts';
import { attemptName } from './crash-projects.ts';

/** Prints what a run came to. */
export function printFigures(outcome: ChaosOutcome, memory: MemoryFigures): void {
  printTable(
    'Faults, and how soon deliveries went on',
    outcome.faults.map((fault) => faultRow(outcome, fault)),
  );
  printTable('Deliveries by receiver', deliveryRows(outcome));
  printTable(
    'Subscribers',
    outcome.subscribers.map(({ name, view, figures: { refusals, ...counts } }) => ({
      subscriber: name,
      deliveries: view.size,
      ...counts,
      refusals: wordsOf(refusals),
    })),
  );
  printTable(
    'Memory in MB',
    [...memory].map(([name, { lastMb, mostMb }]) => ({ process: name, last: lastMb, most: mostMb })),
  );
  printTable('All in all', totalRows(outcome));
}

/** From the fault to the first healthy delivery of an event accepted after it, and to the last of those before it. */
function faultRow(outcome: ChaosOutcome, { kind, target, atMs, backAtMs, loss }: ChaosFault) {
  const acceptedAt = new Map(outcome.accepted.map(({ number, atMs: acceptedMs }) => [number, acceptedMs]));
  const first = firstHealthyArrivals(outcome.arrivals).filter((arrival) => arrival.atMs > atMs);
  const isLater = ({ eventNumber }: ChaosArrival): boolean => (acceptedAt.get(eventNumber) ?? 0) > atMs;
  const flowing = first.filter(isLater).map((arrival) => arrival.atMs - atMs);
  const before = first.filter((arrival) => !isLater(arrival)).map((arrival) => arrival.atMs - atMs);
  return {
    'at s': (atMs - outcome.phases.startedAtMs) / 1_000,
    fault: kind,
    target,
    'back after ms': backAtMs - atMs,
    'in flight': loss === null ? '' : inFlightAt(outcome.arrivals, loss).length,
    'flowing after ms': quantile(flowing, 0),
    'caught up after ms': before.length === 0 ? 0 : quantile(before, 1),
  };
}

/** The first request of each delivery to a healthy receiver. */
function firstHealthyArrivals(arrivals: readonly ChaosArrival[]): ChaosArrival[] {
  const firsts = new Map<string, ChaosArrival>();
  for (const arrival of arrivals) {
    const { temper } = receiverPlans[arrival.place % receiverPlans.length] ?? { temper: 'REFUSING' };
    if (isHealthy(temper) && !firsts.has(arrival.deliveryId)) firsts.set(arrival.deliveryId, arrival);
  }
  return [...firsts.values()];
}

function deliveryRows({ deliveries, arrivals, failingCounts }: ChaosOutcome): Record<string, string | number>[] {
  const requestsOf = Map.groupBy(arrivals, ({ deliveryId }) => deliveryId);
  return [...Map.groupBy(deliveries, ({ temper }) => temper)].map(([temper, theirs]) => {
    const requests = theirs.reduce((sum, { id }) => sum + (requestsOf.get(id)?.length ?? 0), 0);
    const byStatus = Object.fromEntries(tally(theirs.map(({ status }) => status)));
    const failing = failingCounts.get(temper) ?? 0;
    return Object.assign({ receiver: temper, deliveries: theirs.length, requests, 'times failing': failing }, byStatus);
  });
}

function totalRows(outcome: ChaosOutcome): Record<string, string | number>[] {
  const { arrivals, faults, phases } = outcome;
  const inFlightCount = faults.reduce(
    (sum, { loss }) => sum + (loss === null ? 0 : inFlightAt(arrivals, loss).length),
    0,
  );
  return [
    { what: 'seconds of emitting', count: (phases.emittedAtMs - phases.startedAtMs) / 1_000 },
    { what: '… until all was delivered', count: (phases.deliveredAtMs - phases.emittedAtMs) / 1_000 },
    { what: '… until all subscribers agreed', count: (phases.agreedAtMs - phases.deliveredAtMs) / 1_000 },
    { what: 'events accepted', count: outcome.accepted.length },
    { what: 'answers that were lost, the event being stored', count: outcome.duplicateAnswerCount },
    { what: 'requests that came', count: arrivals.length },
    { what: 'requests that came again', count: repeatedArrivals(outcome).length },
    { what: 'requests in flight at the kills and the crashes of Postgres', count: inFlightCount },
    { what: 'deliveries sent again although the receiver had taken them', count: retakenCodes(outcome).length },
    { what: `… because their attempts were recorded as ${wordsOf(tally(retakenCodes(outcome)))}`, count: '' },
    { what: `what the calls met: ${wordsOf(outcome.trouble)}`, count: '' },
  ];
}

/** How the attempts were recorded that the receiver had taken, and that another followed all the same. */
function retakenCodes({ arrivals, attempts }: ChaosOutcome): string[] {
  const codeOf = new Map(
    attempts.map(({ deliveryId, number, errorCode, responseStatus }) => [
      attemptName(deliveryId, number),
      errorCode ?? String(responseStatus),
    ]),
  );
  const taken = Map.groupBy(
    arrivals.filter(({ answered }) => answered === 200),
    ({ deliveryId }) => deliveryId,
  );
  return [...taken].flatMap(([deliveryId, requests]) => {
    const numbers = [...new Set(requests.map(({ attemptNumber }) => attemptNumber))].sort((a, b) => a - b);
    return numbers.slice(0, -1).map((number) => codeOf.get(attemptName(deliveryId, number)) ?? 'nothing');
  });
}

function tally(words: readonly string[]): Map<string, number> {
  return new Map([...Map.groupBy(words, (word) => word)].map(([word, all]) => [word, all.length]));
}

function wordsOf(counts: ReadonlyMap<string, number>): string {
  return [...counts].map(([name, count]) => `${count} ${name}`).join(', ') || 'nothing';
}
