import { idFromUuid } from '../../src/domain/ids.ts';
import type { DeliveryStatus } from '../../src/domain/delivery.ts';
import type { Database } from '../../src/store/database.ts';
import type { AcceptedEvent } from './chaos-emitter.ts';
import type { ChaosFault } from './chaos-faults.ts';
import type { ChaosArrival } from './chaos-receivers.ts';
import type { SeenDelivery, SubscriberFigures } from './chaos-subscriber.ts';
import { receiverPlans } from './chaos-tempers.ts';
import type { Temper } from './chaos-tempers.ts';

/** Everything that is known of a run at its end; what it proves is computed from this alone. */
export interface ChaosOutcome {
  eventCount: number;
  phases: ChaosPhases;
  accepted: readonly AcceptedEvent[];
  /** What the calls of all clients met, by name. */
  trouble: ReadonlyMap<string, number>;
  duplicateAnswerCount: number;
  faults: readonly ChaosFault[];
  arrivals: readonly ChaosArrival[];
  deliveries: readonly StoredDelivery[];
  attempts: readonly StoredAttempt[];
  /** Ids of the events that Postgres has of the emitter. */
  storedEventIds: readonly string[];
  /** Per project, what the API counts: in all and by status. */
  apiCounts: readonly Record<string, number | null>[];
  ownEnds: readonly string[];
  /** How often webhooks became FAILING, by the temper of their receivers. */
  failingCounts: ReadonlyMap<string, number>;
  subscribers: readonly { name: string; project: number; view: Views; figures: SubscriberFigures }[];
  /** What was still open when the time for it was over. */
  open: readonly string[];
}

/** When the parts of a run were over, in milliseconds since the epoch. */
export interface ChaosPhases {
  startedAtMs: number;
  /** All events were answered for, and the last fault was over. */
  emittedAtMs: number;
  deliveredAtMs: number;
  agreedAtMs: number;
}

type Views = ReadonlyMap<string, SeenDelivery>;

/** A delivery as Postgres has it. */
export interface StoredDelivery {
  id: string;
  eventId: string;
  /** Its receiver's place over all projects. */
  place: number;
  project: number;
  temper: Temper;
  status: DeliveryStatus;
  attemptCount: number;
  maxAttempts: number;
  failureReason: string | null;
}

/** An attempt as Postgres has it. */
export interface StoredAttempt {
  deliveryId: string;
  number: number;
  responseStatus: number | null;
  errorCode: string | null;
  startedAtMs: number;
  durationMs: number;
}

/** Reads the deliveries to these webhooks, which are given in the order of the receivers' places. */
export async function readDeliveries(database: Database, webhookIds: readonly string[]): Promise<StoredDelivery[]> {
  const placeOf = new Map(webhookIds.map((id, place) => [id, place]));
  const { rows } = await database.upkeep.query<{
    id: string;
    event_id: string;
    webhook_id: string;
    status: DeliveryStatus;
    attempt_count: number;
    max_attempts: number;
    failure_reason: string | null;
  }>(
    `select id, event_id, webhook_id, status::text, attempt_count, max_attempts, failure_reason from deliveries order by id`,
  );
  return rows.map((row) => {
    const place = placeOf.get(idFromUuid('webhook', row.webhook_id)) ?? Number.NaN;
    const plan = receiverPlans[place % receiverPlans.length];
    if (plan === undefined) throw new Error(`a delivery to a webhook of nobody: ${row.webhook_id}`);
    return {
      id: idFromUuid('delivery', row.id),
      eventId: idFromUuid('event', row.event_id),
      place,
      project: Math.floor(place / receiverPlans.length),
      temper: plan.temper,
      status: row.status,
      attemptCount: row.attempt_count,
      maxAttempts: row.max_attempts,
      failureReason: row.failure_reason,
    };
  });
}

/** Reads all attempts, those of a delivery in the order in which they were made. */
export async function readAttempts(database: Database): Promise<StoredAttempt[]> {
  const { rows } = await database.upkeep.query<{
    delivery_id: string;
    number: number;
    response_status: number | null;
    error_code: string | null;
    started_at: Date;
    duration_ms: number;
  }>(
    `select delivery_id, number, response_status, error_code, started_at, duration_ms from attempts
     order by delivery_id, started_at`,
  );
  return rows.map((row) => ({
    deliveryId: idFromUuid('delivery', row.delivery_id),
    number: row.number,
    responseStatus: row.response_status,
    errorCode: row.error_code,
    startedAtMs: row.started_at.getTime(),
    durationMs: row.duration_ms,
  }));
}

/** Reads the ids of the emitter's events. */
export async function readEventIds(database: Database): Promise<string[]> {
  const { rows } = await database.upkeep.query<{ id: string }>(`select id from events where type like 'chaos.%'`);
  return rows.map(({ id }) => idFromUuid('event', id));
}

/** Reads how often webhooks became FAILING, by their names. */
export async function readFailingCounts(database: Database): Promise<Map<string, number>> {
  const { rows } = await database.upkeep.query<{ name: string; count: number }>(
    `select body -> 'data' ->> 'name' as name, count(*)::int as count from events
     where type = 'posthorn.webhook.failing' group by 1`,
  );
  return new Map(rows.map(({ name, count }) => [name, count]));
}
