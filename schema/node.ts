import { type IdKind, idFromUuid, kindOfId } from '../src/domain/ids.ts';
import { eventTypeColumns } from '../src/store/event-types.ts';
import { apiKeyColumns } from './api-key.ts';
import { attemptColumns } from './attempt-loaders.ts';
import { auditEntryColumns } from './audit-entry.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { deliveryColumns } from './delivery.ts';
import { badInput, notFound } from './errors.ts';
import { eventColumns } from './event.ts';
import { projectColumns } from './project.ts';
import { recoveryColumns } from './recovery.ts';
import { findUuid } from './uuid.ts';
import { webhookColumns } from './webhook.ts';

/** Most ids of one `nodes`. */
const idsMax = 100;

interface NodeKind {
  typename:
    | 'Project'
    | 'ApiKey'
    | 'Webhook'
    | 'Event'
    | 'Delivery'
    | 'Attempt'
    | 'EventType'
    | 'Recovery'
    | 'AuditEntry';
  /** Finds those of the ids that the caller's project has. */
  find: (context: SchemaContext, uuids: string[]) => Promise<{ id: string }[]>;
}

const nodeKinds: Record<IdKind, NodeKind | null> = {
  project: {
    typename: 'Project',
    find: async (context, uuids) =>
      await context.database.prisma.project.findMany({
        select: projectColumns,
        where: { id: { in: uuids.filter((uuid) => uuid === projectUuidOf(context)) } },
      }),
  },
  apiKey: {
    typename: 'ApiKey',
    find: async (context, uuids) =>
      await context.database.prisma.apiKey.findMany({ select: apiKeyColumns, where: owned(context, uuids) }),
  },
  webhook: {
    typename: 'Webhook',
    find: async (context, uuids) =>
      await context.database.prisma.webhook.findMany({
        select: webhookColumns,
        where: { ...owned(context, uuids), deletedAt: null },
      }),
  },
  event: {
    typename: 'Event',
    find: async (context, uuids) =>
      await context.database.prisma.event.findMany({ select: eventColumns, where: owned(context, uuids) }),
  },
  delivery: {
    typename: 'Delivery',
    find: async (context, uuids) =>
      await context.database.prisma.delivery.findMany({ select: deliveryColumns, where: owned(context, uuids) }),
  },
  attempt: {
    typename: 'Attempt',
    find: async (context, uuids) =>
      await context.database.prisma.attempt.findMany({
        select: attemptColumns,
        where: { id: { in: uuids }, delivery: { projectId: projectUuidOf(context) } },
      }),
  },
  eventType: {
    typename: 'EventType',
    find: async (context, uuids) =>
      await context.database.prisma.eventType.findMany({ select: eventTypeColumns, where: owned(context, uuids) }),
  },
  recovery: {
    typename: 'Recovery',
    find: async (context, uuids) =>
      await context.database.prisma.recovery.findMany({ select: recoveryColumns, where: owned(context, uuids) }),
  },
  // A secret is only ever seen through its webhook.
  webhookSecret: null,
  auditEntry: {
    typename: 'AuditEntry',
    find: async (context, uuids) =>
      await context.database.prisma.auditEntry.findMany({ select: auditEntryColumns, where: owned(context, uuids) }),
  },
};

builder.queryFields((t) => ({
  node: t.field({
    type: builder.nodeInterfaceRef(),
    nullable: true,
    needs: 'VIEW_WEBHOOKS',
    description: 'Whatever has this id; null with a NOT_FOUND error when nothing of the project has.',
    args: { id: t.arg.id({ required: true, description: 'Any id of the project.' }) },
    resolve: async (_root, { id }, context) => {
      const found = (await findNodes(context, [id])).get(id);
      if (found === undefined) throw notFound('node', id);
      return found;
    },
  }),
  nodes: t.field({
    type: [builder.nodeInterfaceRef()],
    nullable: { list: false, items: true },
    needs: 'VIEW_WEBHOOKS',
    description: 'Whatever has these ids, in their order; null for an id that the project does not have.',
    args: { ids: t.arg.idList({ required: true, description: 'Any ids of the project, at most 100.' }) },
    resolve: async (_root, { ids }, context) => {
      if (ids.length > idsMax) throw badInput('ids', `at most ${idsMax} long`, ids.length);
      const found = await findNodes(context, ids);
      return ids.map((id) => found.get(id) ?? null);
    },
  }),
}));

/** Finds nodes by id, one statement per kind. What is malformed, foreign or gone is left out. */
async function findNodes(context: SchemaContext, ids: readonly string[]): Promise<Map<string, object>> {
  const found = new Map<string, object>();
  for (const [kind, ofKind] of Map.groupBy(ids, (id) => kindOfId(id))) {
    const nodeKind = kind && nodeKinds[kind];
    if (kind === null || nodeKind === null) continue;
    const uuids = ofKind.map((id) => findUuid(kind, id)).filter((uuid) => uuid !== null);
    for (const row of await nodeKind.find(context, [...new Set(uuids)])) {
      found.set(idFromUuid(kind, row.id), { ...row, __typename: nodeKind.typename });
    }
  }
  return found;
}

function owned(context: SchemaContext, uuids: string[]): { id: { in: string[] }; projectId: string } {
  return { id: { in: uuids }, projectId: projectUuidOf(context) };
}
