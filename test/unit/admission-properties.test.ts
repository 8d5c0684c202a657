import * as fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAdmissionWorld, newWebhookId } from '../support/admission-world.ts';
import { answered, unanswered } from '../support/send-result.ts';
import type { DueDelivery } from '../../src/domain/delivery.ts';
import type { AdmissionWorld } from '../support/admission-world.ts';

const results = {
  good: answered(200),
  refused: answered(500),
  silent: unanswered('TIMEOUT'),
  ours: unanswered('INTERNAL'),
};

type Step =
  | { kind: 'arrive'; webhook: number; count: number; urgent: boolean }
  | { kind: 'end'; which: number; count: number; result: keyof typeof results }
  | { kind: 'sweep' }
  | { kind: 'wait'; ms: number };

const steps = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant('arrive' as const),
      webhook: fc.nat(2),
      count: fc.constantFrom(1, 12, 30, 50),
      urgent: fc.boolean(),
    }),
    fc.record({
      kind: fc.constant('end' as const),
      which: fc.nat(100),
      count: fc.constantFrom(1, 4, 8, 24),
      result: fc.constantFrom<keyof typeof results>('good', 'refused', 'silent', 'silent', 'ours'),
    }),
    fc.record({ kind: fc.constant('sweep' as const) }),
    fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(1, 20, 1_000) }),
  ),
  { minLength: 1, maxLength: 40 },
);

/** What a run begins with: how long the ports take one after the other, and how much room there is. */
const situations = fc.record({
  latenciesMs: fc.array(fc.constantFrom(0, 1, 5, 30), { minLength: 1, maxLength: 40 }),
  inFlightMax: fc.constantFrom(2, 10, 100),
  ratePerSecond: fc.constantFrom(null, null, 3),
});

interface Run {
  world: AdmissionWorld;
  /** What was admitted. */
  due: DueDelivery[];
  /** What admission gave back, once its jobs have ended. */
  left(): Promise<DueDelivery[]>;
  play(step: Step): Promise<void>;
}

function begin({
  latenciesMs,
  inFlightMax,
  ratePerSecond,
}: typeof situations extends fc.Arbitrary<infer S> ? S : never): Run {
  let turn = 0;
  const latencyMs = (): number => latenciesMs[(turn += 1) % latenciesMs.length] ?? 0;
  const world = createAdmissionWorld({ latencyMs, inFlightMax });
  const webhookIds = [newWebhookId(), newWebhookId(), newWebhookId()];
  world.setWebhook(webhookIds[2] ?? newWebhookId(), { rateLimitPerSecond: ratePerSecond });
  const due: DueDelivery[] = [];
  const jobs: Promise<DueDelivery[]>[] = [];
  let urgentCount = 0;
  const play = async (step: Step): Promise<void> => {
    if (step.kind === 'arrive') {
      const added = world.add(webhookIds[step.webhook] ?? newWebhookId(), step.count);
      due.push(...added);
      if (step.urgent) urgentCount += step.count;
      jobs.push(world.admit(added, step.urgent ? 'urgent' : 'normal'));
    } else if (step.kind === 'end') {
      const from = world.underWay.length === 0 ? 0 : step.which % world.underWay.length;
      for (const attempt of world.underWay.slice(from, from + step.count)) attempt.end(results[step.result]);
    } else if (step.kind === 'sweep') jobs.push(world.admit(world.release(), 'released'));
    await vi.advanceTimersByTimeAsync(step.kind === 'wait' ? step.ms : 1);
    // What is slow makes room for others, up to four times as many in all.
    expect(world.admission.inFlightCount).toBeLessThanOrEqual(4 * inFlightMax + urgentCount);
  };
  return { world, due, play, left: async () => (await Promise.all(jobs)).flat() };
}

/** Ends everything under way with success, and lets sweep release what is held, until all is attempted. */
async function untilAllAttempted({ world, due, play }: Run): Promise<void> {
  for (let round = 0; world.countOf('attempted') < due.length && round < 400; round += 1) {
    await play({ kind: 'sweep' });
    for (let turn = 0; turn < 6; turn += 1) {
      for (const attempt of world.underWay) attempt.end(results.good);
      await vi.advanceTimersByTimeAsync(200);
    }
  }
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('whatever comes, in whatever order', () => {
  test('a stop finds each delivery once: attempted, parked or given back', async () => {
    await fc.assert(
      fc.asyncProperty(situations, steps, async (situation, played) => {
        const run = begin(situation);
        for (const step of played) await run.play(step);
        const given = run.world.admission.stop();
        for (let round = 0; round < 20; round += 1) {
          for (const attempt of run.world.underWay) attempt.end(results.good);
          await vi.advanceTimersByTimeAsync(100);
        }
        await run.world.admission.idle();
        const back = [...given, ...(await run.left())].map(({ id }) => id);
        for (const { id } of run.due) {
          const attempts = run.world.attemptCounts.get(id) ?? 0;
          const times =
            attempts + (run.world.places.get(id) === 'held' ? 1 : 0) + back.filter((each) => each === id).length;
          expect({ id, place: run.world.places.get(id), times }).toMatchObject({ times: 1 });
        }
        expect(run.world.errors).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  test('a receiver that is well in the end gets each delivery once', async () => {
    await fc.assert(
      fc.asyncProperty(situations, steps, async (situation, played) => {
        const run = begin(situation);
        for (const step of played) await run.play(step);
        await untilAllAttempted(run);
        expect({ due: run.world.countOf('due'), held: run.world.countOf('held') }).toEqual({ due: 0, held: 0 });
        expect(new Set(run.world.attemptCounts.values())).toEqual(new Set(run.due.length > 0 ? [1] : []));
        await run.left();
        await run.world.admission.idle();
      }),
      { numRuns: 200 },
    );
  });
});
