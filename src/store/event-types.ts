import type { Prisma } from '../../prisma/generated/client/client.ts';
import { idFromUuid, uuidOf, type EventTypeId, type ProjectId } from '../domain/ids.ts';
import { recordAudit, type Actor } from './audit.ts';
import type { Database } from './database.ts';
import { newUuid } from './new-id.ts';

/** Event types that a project can describe. */
export const eventTypesMax = 1_000;

/** The columns of an event type. */
export const eventTypeColumns = {
  id: true,
  projectId: true,
  name: true,
  description: true,
  schema: true,
  createdAt: true,
  updatedAt: true,
} as const satisfies Prisma.EventTypeSelect;

/** An event type as lists read it. */
export type EventTypeRow = Prisma.EventTypeGetPayload<{ select: typeof eventTypeColumns }>;

/** What to write about an event type; what is absent stays as it is, and null removes it. */
export interface EventTypeChanges {
  name: string;
  description?: string | null | undefined;
  /** A JSON Schema that compiles (src/json-schema). */
  schema?: object | null | undefined;
}

/** What became of it. `full`: the project describes as many as it can already; nothing was done. */
export type UpsertResult = { kind: 'done'; eventType: EventTypeRow; created: boolean } | { kind: 'full' };

/** Creates the event type, or changes it when the project has one of that name. */
export async function upsertEventType(
  db: Database,
  projectId: ProjectId,
  actor: Actor,
  changes: EventTypeChanges,
): Promise<UpsertResult> {
  const { name, description, schema } = changes;
  return await db.prisma.$transaction(async (tx) => {
    const schemaText = schema == null ? null : JSON.stringify(schema);
    // The row is new when no transaction has ever locked or changed it: its xmax is 0.
    const [row] = await tx.$queryRaw<{ id: string; created: boolean }[]>`
      insert into event_types as t (id, project_id, name, description, schema)
      select ${newUuid()}::uuid, ${uuidOf(projectId)}::uuid, ${name}, ${description ?? null}, ${schemaText}::json
      where (select count(*) from event_types where project_id = ${uuidOf(projectId)}::uuid) < ${eventTypesMax}
         or exists (select from event_types where project_id = ${uuidOf(projectId)}::uuid and name = ${name})
      on conflict (project_id, name) do update set
        description = case when ${description !== undefined} then excluded.description else t.description end,
        schema = case when ${schema !== undefined} then excluded.schema else t.schema end,
        updated_at = now()
      returning id, xmax = 0 as created`;
    if (row === undefined) return { kind: 'full' };
    const targetId = idFromUuid('eventType', row.id);
    await recordAudit(tx, projectId, actor, { action: 'upsertEventType', targetId });
    const eventType = await tx.eventType.findUniqueOrThrow({ select: eventTypeColumns, where: { id: row.id } });
    return { kind: 'done', eventType, created: row.created };
  });
}

/** Deletes the event type and gives it as it was, or null when the project has none such. Its events stay. */
export async function deleteEventType(
  db: Database,
  projectId: ProjectId,
  actor: Actor,
  eventTypeId: EventTypeId,
): Promise<EventTypeRow | null> {
  const where = { id: uuidOf(eventTypeId), projectId: uuidOf(projectId) };
  return await db.prisma.$transaction(async (tx) => {
    const eventType = await tx.eventType.findFirst({ select: eventTypeColumns, where });
    const { count } = await tx.eventType.deleteMany({ where });
    if (eventType === null || count === 0) return null;
    await recordAudit(tx, projectId, actor, { action: 'deleteEventType', targetId: eventTypeId });
    return eventType;
  });
}
