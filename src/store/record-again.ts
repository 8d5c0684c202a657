import { setTimeout } from 'node:timers/promises';
import { uuidOf } from '../domain/ids.ts';
import { isRefusedData } from './refused-data.ts';
import type { Pipelines } from './pipelines.ts';
import type { RecordedAttempt, RecordedDelivery } from './record-attempts.ts';

/** Waits before a record that Postgres failed is tried again, in milliseconds: 18 s in all. */
const retryWaitsMs = [100, 500, 2_000, 5_000, 10_000];

/** The ways to record an attempt anew after a failure. */
export interface RecordRepeat {
  again: () => Promise<RecordedAttempt>;
  /** With no others in its statement. */
  alone: () => Promise<RecordedAttempt>;
}

/**
 * Records an attempt whose first try has failed, or whose answer was lost. Waits for a database that is away; one that
 * fails otherwise is asked for 18 s. Rejects with the last failure then, or when `limit` aborts.
 */
export async function recordAgain(
  database: Pipelines,
  repeat: RecordRepeat,
  { failure, limit }: { failure: unknown; limit: AbortSignal },
): Promise<RecordedAttempt> {
  const survive = async (record: () => Promise<RecordedAttempt>): Promise<RecordedAttempt> =>
    await database.outage.survive(async () => await decidedByAny(database, await record()), limit);
  let latest = failure;
  database.outage.failed(failure); // so that the first repetition waits already, where the database is just going
  for (const waitMs of retryWaitsMs) {
    if (isRefusedData(latest)) return await survive(repeat.alone);
    try {
      await setTimeout(waitMs, undefined, { signal: limit });
      return await survive(repeat.again);
    } catch (error) {
      if (limit.aborted) throw latest;
      latest = error;
    }
  }
  throw latest;
}

/** What a repeated record came to, be it that an earlier try was committed and only its answer lost. */
async function decidedByAny(database: Pipelines, recorded: RecordedAttempt): Promise<RecordedAttempt> {
  if (recorded.decided) return recorded;
  const counted = await countAttempt(database, recorded);
  const { status, attemptCount } = counted.delivery;
  const decided = status === recorded.delivery.status && attemptCount === recorded.delivery.attemptCount;
  return { ...counted, decided };
}

/** Counts an attempt whose claim was lost, and gives it with the delivery as it is. */
export async function countAttempt(database: Pipelines, recorded: RecordedAttempt): Promise<RecordedAttempt> {
  const { rows } = await database.pipeline.query<RecordedDelivery>({
    name: 'count-attempt',
    text: countSql,
    values: [uuidOf(recorded.attemptId)],
  });
  return { ...recorded, delivery: rows[0] ?? recorded.delivery };
}

// The claim was lost, but an attempt was made: the count must say so, or two attempts would bear one number.
const countSql = `
update deliveries d set attempt_count = greatest(d.attempt_count, a.number)
from attempts a where a.id = $1 and d.id = a.delivery_id
returning d.status::text, d.attempt_count as "attemptCount", d.due_at as "dueAt", d.finished_at as "finishedAt",
          d.failure_reason as "failureReason"`;
