import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { coalesce } from '../coalesce.ts';
import { idFromUuid, uuidOf } from '../domain/ids.ts';
import { expectFewRows } from './expect-few-rows.ts';
import type { EmitInput, EmitResult, NewEvent, StoredEvent } from './emit-event.ts';
import type { Pipelines } from './pipelines.ts';

/** Finds the event that an idempotency key was used for first, compared with the one that came now; null for a key not used. */
export type FindEarlierEvent = (event: NewEvent) => Promise<EmitResult | null>;

/** Lookups that share a statement at most: each brings a body of up to 256 KiB. */
const lookupsMax = 50;

/** Gives the function that looks earlier events up; concurrent calls share a statement. */
export function createEarlierEventFinder(database: Pipelines): FindEarlierEvent {
  const findTogether = coalesce(async (inputs: EmitInput[]) => await findEarlier(database, inputs), lookupsMax);
  return async (event) => {
    const row = await findTogether(event.input);
    return row && comparisonOf(row, event);
  };
}

const earlierSql = `
select k.place, e.id, e.type, e.body::text as body, e.occurred_at, e.created_at,
       (select count(*)::int from deliveries d where d.event_id = e.id) as delivery_count
from json_to_recordset($1::json) as k(place int, project_id uuid, idempotency_key text)
join events e on e.project_id = k.project_id and e.idempotency_key = k.idempotency_key
where ${expectFewRows('k.place + 1')}`;

interface EarlierRow {
  /** Which of the inputs it belongs to. */
  place: number;
  id: string;
  type: string;
  body: string;
  occurred_at: Date;
  created_at: Date;
  delivery_count: number;
}

async function findEarlier(database: Pipelines, inputs: readonly EmitInput[]): Promise<(EarlierRow | null)[]> {
  const keys = inputs.map(({ projectId, idempotencyKey }, place) => ({
    place,
    project_id: uuidOf(projectId),
    idempotency_key: idempotencyKey,
  }));
  const { rows } = await database.pipeline.query<EarlierRow>({
    name: 'earlier-events',
    text: earlierSql,
    values: [JSON.stringify(keys)],
  });
  const found = new Map(rows.map((row) => [row.place, row]));
  return inputs.map((_, place) => found.get(place) ?? null);
}

const bodyData = z.object({ data: z.unknown() });

/** The same type and data make the same event; when it happened or is delivered does not: a caller may say now both times. */
function comparisonOf(row: EarlierRow, { body, input }: NewEvent): EmitResult {
  const event: StoredEvent = {
    id: idFromUuid('event', row.id),
    projectId: input.projectId,
    type: row.type,
    body: row.body,
    occurredAt: row.occurred_at,
    createdAt: row.created_at,
    idempotencyKey: input.idempotencyKey,
  };
  const same = row.type === input.type && isDeepStrictEqual(dataOf(row.body), dataOf(body));
  return same ? { kind: 'duplicate', event, deliveryCount: row.delivery_count } : { kind: 'conflict', event };
}

function dataOf(body: string): unknown {
  return bodyData.parse(JSON.parse(body)).data;
}
