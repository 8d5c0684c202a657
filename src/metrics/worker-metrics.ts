import { Counter, Gauge, Histogram } from 'prom-client';
import { isSuccess } from '../domain/delivery.ts';
import { childrenOf } from './children.ts';
import type { Registry } from 'prom-client';
import type { Dispatch, SendResult } from '../domain/delivery.ts';
import type { TimeRun, WorkerMeter } from '../../worker/worker-meter.ts';

export interface WorkerMeterOptions {
  attemptTimeoutMs: number;
  timeRun: TimeRun;
}

const attemptBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];
const waitBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600];
const statusClasses = ['HTTP_1XX', 'HTTP_2XX', 'HTTP_3XX', 'HTTP_4XX', 'HTTP_5XX'];

/** Creates the worker's meter. */
export function createWorkerMeter(registry: Registry, { attemptTimeoutMs, timeRun }: WorkerMeterOptions): WorkerMeter {
  const countAttempt = createAttemptCounter(registry);
  const observe = createAttemptTimers(registry, attemptTimeoutMs / 1000);
  const claims = createClaimCounters(registry);
  const underWay = createUnderWayGauge(registry);
  const { parked, circuits, enqueuedAgain } = createTroubleCounters(registry);
  return {
    attempted({ dispatch, result, recorded }) {
      const outcome = outcomeOf(result);
      countAttempt(outcome, errorOf(result));
      observe(outcome, dispatch, result);
      if (!recorded.decided) claims.lost.inc();
    },
    claimAsked: (kind) => claims.asked(kind).inc(),
    parked: () => parked.inc(),
    circuitOpened: () => circuits.inc(),
    enqueuedAgain: (by, count) => enqueuedAgain.inc({ by }, count),
    watchUnderWay: underWay.watch,
    timeRun,
  };
}

type Outcome = 'SUCCEEDED' | 'FAILED';

function outcomeOf({ response }: SendResult): Outcome {
  return response !== null && isSuccess(response.status) ? 'SUCCEEDED' : 'FAILED';
}

/** An error code, or else the class of the answer's status; NONE of a success. */
function errorOf(result: SendResult): string {
  if (result.errorCode !== null) return result.errorCode;
  const { status = 0 } = result.response ?? {};
  return isSuccess(status) ? 'NONE' : (statusClasses[Math.floor(status / 100) - 1] ?? 'OTHER');
}

function createAttemptCounter(registry: Registry): (outcome: Outcome, error: string) => void {
  const attempts = new Counter({
    name: 'posthorn_attempts_total',
    help: 'Attempts by outcome and error: NONE, the class of a status such as HTTP_5XX, or an error code such as TIMEOUT.',
    labelNames: ['outcome', 'error'],
    registers: [registry],
  });
  const child = childrenOf((outcome: Outcome) => childrenOf((error: string) => attempts.labels({ outcome, error })));
  child('SUCCEEDED')('NONE').inc(0);
  child('FAILED')('HTTP_5XX').inc(0);
  return (outcome, error) => child(outcome)(error).inc();
}

function createAttemptTimers(
  registry: Registry,
  timeoutSeconds: number,
): (outcome: Outcome, dispatch: Dispatch, result: SendResult) => void {
  const duration = new Histogram({
    name: 'posthorn_attempt_duration_seconds',
    help: 'How long attempts took, from the look-up of the name to the end of the answer; above the last bucket is a timeout.',
    labelNames: ['outcome'],
    buckets: [...attemptBuckets.filter((bucket) => bucket < timeoutSeconds), timeoutSeconds],
    registers: [registry],
  });
  const wait = new Histogram({
    name: 'posthorn_first_attempt_wait_seconds',
    help: 'From the creation of deliveries to their first attempt; what was to be delivered later or had to wait for its webhook is in it.',
    buckets: waitBuckets,
    registers: [registry],
  });
  const child = childrenOf((outcome: Outcome) => duration.labels({ outcome }));
  return (outcome, { attemptNumber, createdAt }, { startedAt, durationMs }) => {
    child(outcome).observe(durationMs / 1000);
    // The database's clock and this machine's: they may differ by a little.
    if (attemptNumber === 1) wait.observe(Math.max(0, startedAt.getTime() - createdAt.getTime()) / 1000);
  };
}

function createClaimCounters(registry: Registry) {
  const asked = new Counter({
    name: 'posthorn_claims_total',
    help: 'Deliveries that a worker wanted to take, by result: claimed, settled (its webhook takes nothing any more) or dropped (not due any more).',
    labelNames: ['result'],
    registers: [registry],
  });
  const lost = new Counter({
    name: 'posthorn_claims_lost_total',
    help: 'Attempts that changed nothing, since their claim had gone stale or their delivery was cancelled meanwhile.',
    registers: [registry],
  });
  type Result = Parameters<WorkerMeter['claimAsked']>[0];
  return { asked: childrenOf((result: Result) => asked.labels({ result })), lost };
}

function createTroubleCounters(registry: Registry) {
  const registers = [registry];
  const parked = new Counter({
    name: 'posthorn_deliveries_parked_total',
    help: 'Deliveries parked because their webhook had no room or its circuit was open.',
    registers,
  });
  const circuits = new Counter({
    name: 'posthorn_circuit_openings_total',
    help: 'Times that a circuit was opened, or kept open after a probe that failed.',
    registers,
  });
  const enqueuedAgain = new Counter({
    name: 'posthorn_deliveries_enqueued_again_total',
    help: 'Deliveries that nobody took: enqueued by sweep (what waited for its webhook is in it), or by retry-stuck after their claim went stale.',
    labelNames: ['by'],
    registers,
  });
  for (const by of ['sweep', 'retry-stuck']) enqueuedAgain.inc({ by }, 0);
  return { parked, circuits, enqueuedAgain };
}

function createUnderWayGauge(registry: Registry): { watch: WorkerMeter['watchUnderWay'] } {
  let count: (() => number) | null = null;
  const gauge: Gauge = new Gauge({
    name: 'posthorn_deliveries_under_way',
    help: 'Deliveries that this process is attempting now.',
    registers: [registry],
    collect: () => gauge.set(count?.() ?? 0),
  });
  return { watch: (given) => (count = given) };
}
