import type { DeliveryChange } from './deliver.ts';

/** What the worker tells of what it does; every call is cheap and never throws. */
export interface WorkerMeter {
  /** An attempt was made and committed. */
  attempted(change: DeliveryChange): void;
  /** A claim was asked for: `settled` and `dropped` are in src/store/claim-deliveries.ts. */
  claimAsked(result: 'claimed' | 'settled' | 'dropped'): void;
  /** A delivery that has no room is about to be parked. */
  parked(): void;
  /** A webhook's circuit opens, or stays open after a probe that failed. */
  circuitOpened(): void;
  /** Deliveries that nobody took were enqueued again. */
  enqueuedAgain(by: 'sweep' | 'retry-stuck', count: number): void;
  /** Gives the function that says how many deliveries are under way now. */
  watchUnderWay(count: () => number): void;
  timeRun: TimeRun;
}

/** Runs what repeats and measures it; its outcome is the run's own. */
export type TimeRun = <Result>(schedule: string, run: () => Promise<Result>) => Promise<Result>;
