import { retryStuck, sweep, type SweepDeps } from '../worker/sweep.ts';
import { claimLeaseMs } from './domain/claim-lease.ts';
import { retentionInstants } from './domain/upkeep.ts';
import { cleanup } from './store/cleanup.ts';
import { loadDatabaseNow } from './store/database-now.ts';
import type { Administration } from '../schema/context.ts';
import type { Config } from './config.ts';

/**
 * What a person can have done now that otherwise happens by itself, with the code of the clock. The mutations, the admin
 * routes and the commands all call this.
 */
export function createAdministration(
  config: Pick<Config, 'retentionDays' | 'sweepGraceMs' | 'attemptTimeoutMs'>,
  { database, queue }: Pick<SweepDeps, 'database' | 'queue'>,
): Administration {
  const settings = { graceMs: config.sweepGraceMs, claimLeaseMs: claimLeaseMs(config.attemptTimeoutMs) };
  return {
    retentionDays: config.retentionDays,
    sweep: async (signal) => await sweep({ database, queue, settings }, signal),
    retryStuck: async (limit) => await retryStuck({ database, queue }, limit),
    cleanup: async (days, signal) =>
      await cleanup(database, retentionInstants(await loadDatabaseNow(database.upkeep), days), signal),
  };
}
