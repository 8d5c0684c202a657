import { createContextCache } from '@pothos/core';
import DataLoader from 'dataloader';
import type { Prisma } from '../prisma/generated/client/client.ts';
import { idFromUuid } from '../src/domain/ids.ts';
import { ApiKey, apiKeyColumns, type ApiKeyRow } from './api-key.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import { loadConnection } from './connection.ts';
import type { SchemaContext } from './context.ts';
import { filterEntriesMax, ownedUuids } from './delivery-filter.ts';
import { badInput } from './errors.ts';
import { isStorableText } from './input-text.ts';

/** The columns of an audit entry. */
export const auditEntryColumns = {
  id: true,
  projectId: true,
  actorKind: true,
  apiKeyId: true,
  action: true,
  targetId: true,
  requestId: true,
  createdAt: true,
} as const satisfies Prisma.AuditEntrySelect;

const AuditActorKind = builder.enumType('AuditActorKind', {
  description: 'What somebody proved to be who they are with.',
  values: {
    API_KEY: { description: 'An API key of the project.' },
    ACCESS_TOKEN: { description: 'An access token that an API key of the project made.' },
    ADMINISTRATOR: { description: 'The admin key of the deployment, or its command line.' },
  },
});

const AuditEntry = builder.prismaObject('AuditEntry', {
  select: auditEntryColumns,
  description: 'Who changed what. It is written with the change: neither is there without the other.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `aud_…`.', resolve: (entry) => idFromUuid('auditEntry', entry.id) }),
    actorKind: t.field({ type: AuditActorKind, description: 'Who.', resolve: (entry) => entry.actorKind }),
    apiKey: t.field({
      type: ApiKey,
      nullable: true,
      description: 'The API key that asked, or that made the access token; null for the administrator.',
      resolve: async ({ apiKeyId }, _args, context) =>
        apiKeyId === null ? null : await apiKeyLoader(context).load(apiKeyId),
    }),
    action: t.string({ description: 'The mutation, as in `createWebhook`.', resolve: (entry) => entry.action }),
    targetId: t.id({
      nullable: true,
      description: 'The id of what was changed; null when that has none.',
      resolve: (entry) => entry.targetId,
    }),
    requestId: t.string({
      nullable: true,
      description: 'The id of the request, `x-request-id`; null when the command line asked.',
      resolve: (entry) => entry.requestId,
    }),
    createdAt: t.field({ type: 'DateTime', description: 'When.', resolve: (entry) => entry.createdAt }),
  }),
});

const AuditEntryConnection = builder.connectionObject(
  { type: AuditEntry, name: 'AuditEntryConnection', description: 'Audit entries, newest first.' },
  { name: 'AuditEntryEdge', description: 'An audit entry and its place in the list.' },
);

const AuditEntryFilter = builder.inputType('AuditEntryFilter', {
  description: 'Narrows the list. Everything given must be true; an absent or null entry narrows nothing.',
  fields: (t) => ({
    actions: t.stringList({ description: 'One of these mutations, as in `createWebhook`; at most 100.' }),
    apiKeyIds: t.idList({ description: 'Asked by one of these keys, or by a token that it made; at most 100.' }),
    targetIds: t.idList({ description: 'A change of one of these; at most 100.' }),
    since: t.field({ type: 'DateTime', description: 'Only changes from then on.' }),
    until: t.field({ type: 'DateTime', description: 'Only changes before then.' }),
  }),
});

builder.queryField('auditEntries', (t) =>
  t.field({
    type: AuditEntryConnection,
    needs: 'VIEW_WEBHOOKS',
    description: 'Who changed what in the project, newest first. Emitted events are their own record.',
    args: {
      ...t.arg.connectionArgs(),
      filter: t.arg({
        type: AuditEntryFilter,
        description: 'Only entries that all of this is true of; absent or null narrows nothing.',
      }),
    },
    resolve: async (_root, { filter, ...args }, context) => {
      const { auditEntry } = context.database.prisma;
      const where = { projectId: projectUuidOf(context), ...(await parseFilter(context, filter ?? {})) };
      return await loadConnection(
        args,
        async ({ where: bounds, ...window }) =>
          await auditEntry.findMany({ select: auditEntryColumns, ...window, where: { ...where, ...bounds } }),
        async () => await auditEntry.count({ where }),
      );
    },
  }),
);

/**
 * What the filter lets through. A target that the project never had lets nothing through: what is gone from the database
 * cannot be told from it. Keys stay when they are revoked, so that any other is NOT_FOUND.
 */
async function parseFilter(
  context: SchemaContext,
  filter: typeof AuditEntryFilter.$inferInput,
): Promise<Prisma.AuditEntryWhereInput> {
  const { actions, apiKeyIds = null, targetIds, since, until } = filter;
  for (const [name, values] of Object.entries({ actions, targetIds })) {
    if (values && values.length > filterEntriesMax) {
      throw badInput(`filter.${name}`, `at most ${filterEntriesMax} long`, values.length);
    }
  }
  const apiKeyUuids = await ownedUuids(context, 'apiKey', apiKeyIds);
  return {
    ...(actions ? { action: { in: actions.filter(isStorableText) } } : {}),
    ...(apiKeyUuids ? { apiKeyId: { in: apiKeyUuids } } : {}),
    ...(targetIds ? { targetId: { in: targetIds.filter(isStorableText) } } : {}),
    createdAt: { ...(since ? { gte: since } : {}), ...(until ? { lt: until } : {}) },
  };
}

const apiKeyLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader<string, ApiKeyRow | null>(async (uuids) => {
      const rows = await context.database.prisma.apiKey.findMany({
        select: apiKeyColumns,
        where: { id: { in: [...uuids] }, projectId: projectUuidOf(context) },
      });
      const byId = new Map(rows.map((row) => [row.id, row]));
      return uuids.map((uuid) => byId.get(uuid) ?? null);
    }),
);
