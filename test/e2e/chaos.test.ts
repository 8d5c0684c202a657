import { beforeAll, describe, expect, test } from 'vitest';
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
import { faultKinds } from '../support/chaos-faults.ts';
import { printFigures } from '../support/chaos-figures.ts';
import type { ChaosOutcome } from '../support/chaos-outcome.ts';
import { inFlightAt, repeatedArrivals } from '../support/chaos-repeats.ts';
import { runChaos } from '../support/chaos-run.ts';

// `npm run chaos` runs this with 20,000 events and 33 faults. CHAOS_SEED repeats a run, as far as the machine does.

const settings = {
  eventCount: Number(process.env['CHAOS_EVENTS'] ?? 1_500),
  eventsPerSecond: Number(process.env['CHAOS_RATE'] ?? 60),
  faultCount: Number(process.env['CHAOS_FAULTS'] ?? faultKinds.length),
  seed: Number(process.env['CHAOS_SEED'] ?? 20_261_128),
};
const runLimitMs = 600_000 + (settings.eventCount * 2_000) / settings.eventsPerSecond;
/** Problems of one kind are shown up to that many; the first says how many there are. */
const problemsShown = 20;

function shortened(problems: readonly string[]): string[] {
  return problems.length === 0 ? [] : [`${problems.length} problems`, ...problems.slice(0, problemsShown)];
}

describe(`${settings.faultCount} faults while ${settings.eventCount} events are emitted (seed ${settings.seed})`, () => {
  let outcome: ChaosOutcome;

  beforeAll(async () => {
    process.stdout.write(`chaos: ${JSON.stringify(settings)}\n`);
    const done = await runChaos(settings);
    ({ outcome } = done);
    printFigures(outcome, done.memory);
  }, runLimitMs);

  test('all that was asked for happened, and the run came to rest', () => {
    expect(outcome.faults).toHaveLength(settings.faultCount);
    expect(outcome.open).toEqual([]);
  });

  test('every event is accepted once, and nobody is told of an unexpected error', () => {
    expect(shortened(checkAccepted(outcome))).toEqual([]);
  });

  test('the ledger of each project is exact', () => {
    expect(shortened(checkLedger(outcome))).toEqual([]);
  });

  test('every accepted event comes to every receiver that works, however badly', () => {
    expect(shortened(checkArrived(outcome))).toEqual([]);
  });

  test('what goes to receivers that never work fails or waits as its schedule says', () => {
    expect(shortened(checkHopeless(outcome))).toEqual([]);
  });

  test('only what was in flight when a worker or Postgres was killed comes again', () => {
    const { arrivals, faults } = outcome;
    expect(shortened(checkRepeats(outcome))).toEqual([]);
    const inFlight = new Set(faults.flatMap(({ loss }) => (loss === null ? [] : inFlightAt(arrivals, loss))));
    expect(repeatedArrivals(outcome).length).toBeLessThanOrEqual(inFlight.size);
  });

  test('every request of an event has the same id and body, and its signature verifies', () => {
    expect(shortened(checkSame(outcome))).toEqual([]);
  });

  test('every attempt that a receiver saw is recorded with the answer that it gave', () => {
    expect(shortened(checkAttempts(outcome))).toEqual([]);
  });

  test('no process ends but by the killer', () => {
    expect(outcome.ownEnds).toEqual([]);
  });

  test('every subscriber ends with each delivery as Postgres has it', () => {
    expect(shortened(checkSubscribers(outcome))).toEqual([]);
  });
});
