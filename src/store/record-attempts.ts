import { coalesce } from '../coalesce.ts';
import { isSuccess, statusAfter } from '../domain/delivery.ts';
import { uuidOf } from '../domain/ids.ts';
import { newId } from './new-id.ts';
import type { Decision, Dispatch, SendResult } from '../domain/delivery.ts';
import type { AttemptId } from '../domain/ids.ts';
import type { Database } from './database.ts';

/** One attempt with what follows from it. */
export interface AttemptToRecord {
  dispatch: Dispatch;
  result: SendResult;
  decision: Decision;
}

/** What the record did. */
export interface RecordedAttempt {
  attemptId: AttemptId;
  /** False when the claim was lost meanwhile (cancelled, or taken as stale): the attempt is stored, the delivery is not changed. */
  decided: boolean;
  /** When the next attempt is due, after a retry decision. */
  dueAt: Date | null;
  finishedAt: Date | null;
}

export type RecordAttempt = (attempt: AttemptToRecord) => Promise<RecordedAttempt>;

/**
 * Gives the function that stores an attempt and changes its delivery as decided, in one transaction. Concurrent calls
 * share one statement. Only the claim that is still held changes the delivery, so a late worker cannot undo a later fate.
 */
export function createRecorder(database: Database): RecordAttempt {
  return coalesce((attempts: AttemptToRecord[]) => recordAttempts(database, attempts));
}

const recordSql = `
with r as materialized (
  select * from json_to_recordset($1::json) as r(
    id uuid, delivery_id uuid, claimed_at timestamptz, number smallint, outcome attempt_outcome,
    trigger attempt_trigger, started_at timestamptz, duration_ms float8, dns_ms float8, connect_ms float8, tls_ms float8,
    first_byte_ms float8, response_status smallint, response_headers json, response_body text, error_code text,
    error_message text, status delivery_status, failure_reason text, delay_ms float8)
), stored as (
  insert into attempts (id, delivery_id, number, outcome, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms,
                        first_byte_ms, response_status, response_headers, response_body, error_code, error_message)
  select id, delivery_id, number, outcome, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms,
         first_byte_ms, response_status, response_headers, response_body, error_code, error_message from r
)
update deliveries d set
  status = r.status,
  attempt_count = r.number,
  trigger = 'AUTOMATIC',
  claimed_at = null,
  due_at = case when r.status = 'RETRYING' then now() + r.delay_ms * interval '1 ms' end,
  finished_at = case when r.status <> 'RETRYING' then now() end,
  failure_reason = r.failure_reason
from r
where d.id = r.delivery_id and d.status = 'DELIVERING' and d.claimed_at = r.claimed_at
returning d.id, d.due_at, d.finished_at`;

// The claim was lost, but an attempt was made: the count must say so, or two attempts would bear one number.
const countSql = `
update deliveries d set attempt_count = greatest(d.attempt_count, a.number)
from (select delivery_id, max(number) as number from attempts where id = any($1::uuid[]) group by delivery_id) a
where d.id = a.delivery_id`;

async function recordAttempts(database: Database, attempts: readonly AttemptToRecord[]): Promise<RecordedAttempt[]> {
  const identified = attempts.map((attempt) => ({ attempt, id: newId('attempt') }));
  const { rows } = await database.pipeline.query<{ id: string; due_at: Date | null; finished_at: Date | null }>({
    name: 'record-attempts',
    text: recordSql,
    values: [JSON.stringify(identified.map(({ attempt, id }) => attemptRow(attempt, id)))],
  });
  const decided = new Map(rows.map((row) => [row.id, row]));
  const recorded = identified.map(({ attempt, id }) => {
    const row = decided.get(uuidOf(attempt.dispatch.deliveryId));
    return {
      attemptId: id,
      decided: row !== undefined,
      dueAt: row?.due_at ?? null,
      finishedAt: row?.finished_at ?? null,
    };
  });
  const undecided = recorded.filter((attempt) => !attempt.decided);
  if (undecided.length > 0) {
    await database.pipeline.query(countSql, [undecided.map((attempt) => uuidOf(attempt.attemptId))]);
  }
  return recorded;
}

function attemptRow({ dispatch, result, decision }: AttemptToRecord, id: AttemptId): Record<string, unknown> {
  return {
    id: uuidOf(id),
    delivery_id: uuidOf(dispatch.deliveryId),
    claimed_at: dispatch.claimedAt,
    number: dispatch.attemptNumber,
    trigger: dispatch.trigger,
    status: statusAfter(decision),
    failure_reason: decision.kind === 'failed' ? decision.reason : null,
    delay_ms: decision.kind === 'retry' ? decision.delayMs : null,
    ...resultColumns(result),
  };
}

function resultColumns({ response, timings, ...result }: SendResult): Record<string, unknown> {
  return {
    outcome: response !== null && isSuccess(response.status) ? 'SUCCEEDED' : 'FAILED',
    started_at: result.startedAt,
    duration_ms: result.durationMs,
    dns_ms: timings.dnsMs,
    connect_ms: timings.connectMs,
    tls_ms: timings.tlsMs,
    first_byte_ms: timings.firstByteMs,
    response_status: response?.status ?? null,
    response_headers: response?.headers ?? null,
    response_body: response?.body ?? null,
    error_code: result.errorCode,
    error_message: result.errorMessage,
  };
}
