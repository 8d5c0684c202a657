import { retentionInstants } from '../src/domain/upkeep.ts';
import { cleanup, type CleanupResult } from '../src/store/cleanup.ts';
import { endCleanupTurn, takeCleanupTurn } from '../src/store/cleanup-turn.ts';
import type { Pipelines } from '../src/store/pipelines.ts';

/** After how long a run leaves the rest to the next one, in milliseconds: less than from one look to the next. */
const runMsMax = 50_000;
/** After how long a turn counts as abandoned, in milliseconds: a run and its last step take less. */
const leaseMs = 75_000;

export interface DailyCleanup {
  /** How long history is kept. */
  retentionDays: number;
  /** Rows that one step looks at, at most; for tests. */
  stepRowsMax?: number;
}

/**
 * Removes what is older than the retention when that is due: once after each 03:00 UTC, by one process at a time. Gives
 * what it removed, or null when it was not due or is somebody else's. Called every minute: so a 03:00 at which no worker ran
 * is made up for, and what a stop, a crash or the run's own limit leaves over goes on in the next minutes. How old something is,
 * the database's clock says: on a worker's own, set wrong by a month, all history would be old.
 */
export async function cleanUpDaily(
  database: Pipelines,
  { retentionDays, ...options }: DailyCleanup,
  signal: AbortSignal,
): Promise<CleanupResult | null> {
  const turn = await takeCleanupTurn(database, leaseMs);
  if (turn === null) return null;
  let finished = false;
  try {
    const limited = AbortSignal.any([signal, AbortSignal.timeout(runMsMax)]);
    const result = await cleanup(database, { ...retentionInstants(turn.takenAt, retentionDays), ...options }, limited);
    finished = result.finished;
    return result;
  } finally {
    await endCleanupTurn(database, turn, finished);
  }
}
