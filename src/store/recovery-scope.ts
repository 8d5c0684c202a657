import { z } from 'zod';
import { failureReasons } from '../domain/delivery.ts';
import { parseId, uuidOf } from '../domain/ids.ts';
import type { WebhookId } from '../domain/ids.ts';

// What a recovery takes, as its row keeps it and as SQL asks for it. The count at its creation and each of its steps ask
// the same, so that they agree.

/** Statuses that a recovery can take: ended, and not delivered. */
export const recoverableStatuses = ['FAILED', 'SKIPPED', 'CANCELLED'] as const;
export type RecoverableStatus = (typeof recoverableStatuses)[number];

/** What a recovery takes when nobody says which. */
export const defaultStatuses: readonly RecoverableStatus[] = ['FAILED', 'SKIPPED'];

// Rows outlive versions: a key that a row lacks narrows nothing, as in the API.
const filterSchema = z.object({
  webhookIds: z
    .array(z.string().transform((id): WebhookId => parseId('webhook', id)))
    .nullable()
    .default(null),
  statuses: z.array(z.enum(recoverableStatuses)).default(() => [...defaultStatuses]),
  eventTypes: z.array(z.string()).nullable().default(null),
  failureReasons: z.array(z.enum(failureReasons)).nullable().default(null),
});

/** Which deliveries a recovery takes, besides when they were created. All of it must be true; null narrows nothing. */
export type RecoveryFilter = z.output<typeof filterSchema>;

/** Reads a filter as a row keeps it; keys that the row lacks get their defaults. Throws when it is none. */
export function parseRecoveryFilter(stored: unknown): RecoveryFilter {
  return filterSchema.parse(stored);
}

/** What a recovery takes. */
export interface RecoveryScope {
  /** UUID. */
  projectId: string;
  filter: RecoveryFilter;
  since: Date;
  until: Date;
  /** When it was asked for: what ended later is none of its business. Null is now. */
  askedAt: Date | null;
}

/** Values of the parameters $1 to $8 that the texts below read. */
export function scopeValues({ projectId, filter, since, until, askedAt }: RecoveryScope): unknown[] {
  const { statuses, eventTypes, failureReasons: reasons } = filter;
  const types = eventTypes === null || eventTypes.includes('*') ? null : eventTypes;
  return [
    projectId,
    since,
    until,
    askedAt,
    statuses,
    reasons,
    types?.filter((type) => !type.endsWith('.*')) ?? null,
    types?.filter((type) => type.endsWith('.*')).map((type) => type.slice(0, -1)) ?? null,
  ];
}

/** The statement to take, with the value of its last parameter: the webhooks, each once, when these are named. */
export function sourceOf({ webhookIds }: RecoveryFilter): { source: 'ofProject' | 'ofWebhooks'; values: unknown[] } {
  if (webhookIds === null) return { source: 'ofProject', values: [] };
  return { source: 'ofWebhooks', values: [[...new Set(webhookIds)].map((id) => uuidOf(id))] };
}

// Nothing is indexed by its time of creation, but ids begin with it, a little after the time of their transaction, which
// rows are created at. Before 1970 there are no ids.
const afterAllOfSql = `posthorn_uuid_at(greatest($2::timestamptz - interval '1 minute', 'epoch'))`;
const beforeAllOfSql = `posthorn_uuid_at(greatest($3::timestamptz + interval '1 minute', 'epoch'))`;

/**
 * The ids of the next $10 deliveries of the time after $9, or after none: of the project, or of the webhooks in the
 * parameter. However few of them are to be taken, no more is looked at, in one index. Compared as rows, since the index on
 * ids alone serves no such condition: a planner that takes the project for most of the table would read everybody's
 * deliveries of the time with it.
 */
export function lookedSql(source: 'ofProject' | 'ofWebhooks', webhooksParameter: string): string {
  if (source === 'ofProject') return `select d.id from ${rangeSql('project_id', '$1::uuid')}`;
  return `
    select found.id from unnest(${webhooksParameter}::uuid[]) as wanted(id) cross join lateral (
      select d.id from ${rangeSql('webhook_id', 'wanted.id')}
    ) found order by found.id limit $10`;
}

function rangeSql(column: 'project_id' | 'webhook_id', value: string): string {
  return `deliveries d
      where (d.${column}, d.id) > (${value}, greatest($9::uuid, ${afterAllOfSql}))
        and (d.${column}, d.id) < (${value}, ${beforeAllOfSql})
      order by d.${column}, d.id limit $10`;
}

/**
 * What is true of a delivery `d` that was looked at and is to be taken. No condition on the project that an index serves: it
 * would be read whole, once for each webhook.
 */
export const takenSql = `
  d.project_id is not distinct from $1::uuid and d.created_at >= $2 and d.created_at < $3
  and coalesce(d.finished_at, d.created_at) <= coalesce($4::timestamptz, now())::timestamptz(3)
  and d.status = any($5::delivery_status[])
  and ($6::text[] is null or d.failure_reason = any($6))
  and ($7::text[] is null or ${isOfTypeSql()})`;

/** A scalar, and not `exists`: that was once made a hash of all events there are. */
function isOfTypeSql(): string {
  return '(select e.type = any($7) or e.type ^@ any($8::text[]) from events e where e.id = d.event_id)';
}
