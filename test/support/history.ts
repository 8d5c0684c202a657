import type { Pool } from 'pg';
import { parseId, uuidOf } from '../../src/domain/ids.ts';

/** History as it was left long ago. */
export interface History {
  /** Events. */
  count?: number;
  /** When event and deliveries were made. */
  at: Date;
  /** One delivery per status. */
  statuses?: readonly string[];
  /** When they ended; null leaves it out. */
  finishedAt?: Date | null;
  attemptCount?: number;
  projectId?: string;
}

let made = 0;

/** Stores events of that age, each with a delivery per status and attempts to each; gives the events' UUIDs. */
export async function storeHistory(
  { pipeline }: { pipeline: Pick<Pool, 'query'> },
  history: History,
): Promise<string[]> {
  const { at, count = 1, statuses = ['DELIVERED'], attemptCount = 2 } = history;
  const events = Array.from({ length: count }, () => uuidOfAge(at));
  const deliveries = events.flatMap((eventId) => statuses.map((status) => ({ id: uuidOfAge(at), eventId, status })));
  const attempts = deliveries.flatMap(({ id: deliveryId }) =>
    Array.from({ length: attemptCount }, (_, index) => ({ id: uuidOfAge(at), deliveryId, number: index + 1 })),
  );
  await pipeline.query(
    `with e as (
      insert into events (id, project_id, type, body, occurred_at, created_at)
      select id::uuid, coalesce($4, gen_random_uuid()), 'config.deployed', '{}', $5, $5 from unnest($1::text[]) as id
    ), d as (
      insert into deliveries (id, project_id, event_id, webhook_id, max_attempts, status, created_at, finished_at)
      select id, coalesce($4, gen_random_uuid()), "eventId", gen_random_uuid(), 6, status::delivery_status, $5, $6
      from json_to_recordset($2) as r(id uuid, "eventId" uuid, status text)
    )
    insert into attempts (id, delivery_id, number, outcome, trigger, started_at, duration_ms)
    select id, "deliveryId", number, 'FAILED', 'AUTOMATIC', $5, 1
    from json_to_recordset($3) as r(id uuid, "deliveryId" uuid, number int)`,
    [
      events,
      JSON.stringify(deliveries),
      JSON.stringify(attempts),
      history.projectId ?? null,
      at,
      history.finishedAt === undefined ? at : history.finishedAt,
    ],
  );
  return events;
}

/** A UUIDv7 of that millisecond, unlike all others that this process makes. */
export function uuidOfAge(at: Date): string {
  made += 1;
  const hex = at.getTime().toString(16).padStart(12, '0');
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-${made.toString(16).padStart(12, '0')}`;
}

/** How many rows there are. */
export async function countHistory({
  pipeline,
}: {
  pipeline: Pick<Pool, 'query'>;
}): Promise<Record<'events' | 'deliveries' | 'attempts', number>> {
  const { rows } = await pipeline.query(
    `select (select count(*)::int from events) as events, (select count(*)::int from deliveries) as deliveries,
            (select count(*)::int from attempts) as attempts`,
  );
  return rows[0];
}

/** Takes the newest delivery of the webhook back to where it was an hour ago: taken by a worker, or due and taken by nobody. */
export async function loseClaims(
  { pipeline }: { pipeline: Pick<Pool, 'query'> },
  webhookId: string,
  status: 'DELIVERING' | 'PENDING',
): Promise<void> {
  await pipeline.query(
    `update deliveries set status = $2::delivery_status, due_at = now() - interval '1 hour', finished_at = null,
       claimed_at = case when $2 = 'DELIVERING' then now() - interval '2 hours' end
     where id = (select id from deliveries where webhook_id = $1 order by id desc limit 1)`,
    [uuidOf(parseId('webhook', webhookId)), status],
  );
}
