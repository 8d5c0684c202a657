import { coalesce } from '../coalesce.ts';
import { isSuccess, statusAfter } from '../domain/delivery.ts';
import { isReservedEventType } from '../domain/event-type.ts';
import { idFromUuid, uuidOf } from '../domain/ids.ts';
import { expectFewRows } from './expect-few-rows.ts';
import { createUuidMaker } from './new-id.ts';
import { countAttempt, recordAgain } from './record-again.ts';
import type { Decision, DeliveryStatus, Dispatch, FailureReason, SendResult } from '../domain/delivery.ts';
import type { AttemptId } from '../domain/ids.ts';
import { inTransaction, type Pipelines, type Queryable } from './pipelines.ts';
import { storeOwnEvents, type OwnEvent, type OwnEventInput } from './own-event.ts';
import type { EmitSettings } from './emit-event.ts';

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
  /** Where the delivery stands now: as decided, or as whoever took the claim left it. */
  delivery: RecordedDelivery;
  /** `posthorn.delivery.exhausted`, when this attempt was the last and failed. */
  exhausted: OwnEvent | null;
}

/** Where a delivery stands after an attempt was recorded. */
export interface RecordedDelivery {
  status: DeliveryStatus;
  attemptCount: number;
  /** When the next attempt is due, while one is to come. */
  dueAt: Date | null;
  finishedAt: Date | null;
  failureReason: FailureReason | null;
}

export type RecordAttempt = (attempt: AttemptToRecord) => Promise<RecordedAttempt>;

interface IdentifiedAttempt {
  attempt: AttemptToRecord;
  id: AttemptId;
}

/**
 * How long a record waits for a database that is away, in milliseconds. Longer than the claim's lease: while the database
 * is away nobody can take the claim over, and only the claim that is still held changes the delivery.
 */
const awayMsMax = 3_600_000;
/** Attempts with an event of their own that one statement records. */
const exhaustedBatchMax = 20;

/**
 * Gives the function that stores an attempt and changes its delivery as decided, in one transaction. Concurrent calls
 * share one statement. Only the claim that is still held changes the delivery, so a late worker cannot undo a later fate.
 * The request has been made by now, and an attempt that is not recorded is made again: so a record waits for a database
 * that is away, for an hour at most; one that fails otherwise is repeated for 18 s, alone when what an attempt contains was
 * refused. It rejects only then, or when `stop` aborts while it waits.
 */
export function createRecorder(database: Pipelines, settings: EmitSettings, stop?: AbortSignal): RecordAttempt {
  const recordBy = (statement: RecordStatement) => async (attempts: readonly IdentifiedAttempt[]) =>
    attempts.some(({ attempt }) => isToldExhausted(attempt))
      ? await inTransaction(database, async (transaction) => {
          const recorded = await recordAttempts(transaction, attempts, statement);
          return await withExhausted(transaction, settings, attempts, recorded);
        })
      : await recordAttempts(database.pipeline, attempts, statement);
  // Attempts that end their deliveries as exhausted emit an event each, to who knows how many webhooks: few at a time, so
  // that a statement too long for its limit holds up no others.
  const recorders = {
    normal: { first: coalesce(recordBy(recordSql)), again: coalesce(recordBy(recordAgainSql)) },
    exhausted: {
      first: coalesce(recordBy(recordSql), exhaustedBatchMax),
      again: coalesce(recordBy(recordAgainSql), 1),
    },
  };

  // Of the claim's moment, which the database gave: attempts of a delivery sort as they were made, whichever workers did.
  const makeUuid = createUuidMaker();
  const recordAlone = async (attempt: IdentifiedAttempt): Promise<RecordedAttempt> =>
    onlyOne(await recordBy(recordAgainSql)([attempt]));

  return async (attempt) => {
    const identified = { attempt, id: idFromUuid('attempt', makeUuid(attempt.dispatch.claimedAt.getTime())) };
    const { first, again } = recorders[isToldExhausted(attempt) ? 'exhausted' : 'normal'];
    const repeat = { again: async () => await again(identified), alone: async () => await recordAlone(identified) };
    try {
      const recorded = await first(identified);
      return recorded.decided ? recorded : await countAttempt(database, recorded);
    } catch (error) {
      const limit = AbortSignal.timeout(awayMsMax);
      return await recordAgain(database, repeat, {
        failure: error,
        limit: stop ? AbortSignal.any([stop, limit]) : limit,
      });
    }
  };
}

function onlyOne([recorded]: readonly RecordedAttempt[]): RecordedAttempt {
  if (recorded === undefined) throw new Error('one attempt gave no record');
  return recorded;
}

/** Whether the project is told that this attempt was in vain and the last; of its being told, it is not. */
function isToldExhausted({ dispatch, decision }: AttemptToRecord): boolean {
  const isExhausted = decision.kind === 'failed' && decision.reason === 'EXHAUSTED';
  return isExhausted && dispatch.trigger !== 'TEST' && !isReservedEventType(dispatch.eventType);
}

/** Stores `posthorn.delivery.exhausted` for each attempt that ended its delivery so. */
async function withExhausted(
  transaction: Queryable,
  settings: EmitSettings,
  attempts: readonly IdentifiedAttempt[],
  recorded: readonly RecordedAttempt[],
): Promise<RecordedAttempt[]> {
  const told = attempts.filter(({ attempt }, index) => recorded[index]?.decided === true && isToldExhausted(attempt));
  const inputs = told.map(({ attempt, id }) => exhaustedEvent(attempt, id));
  const events = await storeOwnEvents(transaction, settings, inputs);
  const eventByAttempt = new Map(told.map(({ id }, index) => [id, events[index] ?? null]));
  return recorded.map((each) => ({ ...each, exhausted: eventByAttempt.get(each.attemptId) ?? null }));
}

function exhaustedEvent({ dispatch, result }: AttemptToRecord, attemptId: AttemptId): OwnEventInput {
  const { projectId, webhookId, deliveryId, eventId, eventType, attemptNumber } = dispatch;
  return {
    type: 'posthorn.delivery.exhausted',
    projectId,
    webhookId,
    data: {
      deliveryId,
      webhookId,
      eventId,
      eventType,
      attemptCount: attemptNumber,
      lastAttempt: {
        id: attemptId,
        responseStatus: result.response?.status ?? null,
        errorCode: result.errorCode,
        errorMessage: result.errorMessage,
      },
    },
  };
}

interface RecordStatement {
  name: string;
  text: string;
}

const recordSql = recordStatement('record-attempts', '');
// What failed may have been committed all the same, when only the answer was lost: the attempt is stored once, and its
// delivery, no longer claimed, stays as that decided. The first try is spared the cost of looking.
const recordAgainSql = recordStatement('record-attempts-again', 'on conflict (id) do nothing');

function recordStatement(name: string, onConflict: string): RecordStatement {
  const text = `
with r as materialized (
  select * from json_to_recordset($1::json) as r(
    id uuid, delivery_id uuid, claimed_at timestamptz, number smallint, outcome attempt_outcome,
    trigger attempt_trigger, started_at timestamptz, duration_ms float8, dns_ms float8, connect_ms float8, tls_ms float8,
    first_byte_ms float8, response_status smallint, response_headers json, response_body text, error_code text,
    error_message text, status delivery_status, failure_reason text, delay_ms float8)
  where ${expectFewRows('r.number')}
), stored as (
  insert into attempts (id, delivery_id, number, outcome, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms,
                        first_byte_ms, response_status, response_headers, response_body, error_code, error_message)
  select id, delivery_id, number, outcome, trigger, started_at, duration_ms, dns_ms, connect_ms, tls_ms,
         first_byte_ms, response_status, response_headers, response_body, error_code, error_message from r
  ${onConflict}
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
returning r.id, d.due_at, d.finished_at`;
  return { name, text };
}

async function recordAttempts(
  database: Queryable,
  attempts: readonly IdentifiedAttempt[],
  statement: RecordStatement,
): Promise<RecordedAttempt[]> {
  const { rows } = await database.query<{ id: string; due_at: Date | null; finished_at: Date | null }>({
    ...statement,
    values: [JSON.stringify(inLockOrder(attempts).map(({ attempt, id }) => attemptRow(attempt, id)))],
  });
  const decided = new Map(rows.map((row) => [row.id, row]));
  return attempts.map(({ attempt: { dispatch, decision }, id }) => {
    const row = decided.get(uuidOf(id));
    const delivery = {
      status: statusAfter(decision),
      attemptCount: dispatch.attemptNumber,
      dueAt: row?.due_at ?? null,
      finishedAt: row?.finished_at ?? null,
      failureReason: failureReasonOf(decision),
    };
    return { attemptId: id, decided: row !== undefined, delivery, exhausted: null };
  });
}

/** Deliveries are changed in the order of their ids, as sweep does it: neither waits for the other in a circle. */
function inLockOrder(attempts: readonly IdentifiedAttempt[]): IdentifiedAttempt[] {
  return attempts.toSorted((a, b) => (a.attempt.dispatch.deliveryId < b.attempt.dispatch.deliveryId ? -1 : 1));
}

function attemptRow({ dispatch, result, decision }: AttemptToRecord, id: AttemptId): Record<string, unknown> {
  return {
    id: uuidOf(id),
    delivery_id: uuidOf(dispatch.deliveryId),
    claimed_at: dispatch.claimedAt,
    number: dispatch.attemptNumber,
    trigger: dispatch.trigger,
    status: statusAfter(decision),
    failure_reason: failureReasonOf(decision),
    delay_ms: decision.kind === 'retry' ? decision.delayMs : null,
    ...resultColumns(result),
  };
}

function failureReasonOf(decision: Decision): FailureReason | null {
  return decision.kind === 'failed' ? decision.reason : null;
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
