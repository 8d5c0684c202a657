import type { Prisma } from '../prisma/generated/client/client.ts';
import { z } from 'zod';
import { idFromUuid } from '../src/domain/ids.ts';
import { isPermission, type Permission as GrantedPermission } from '../src/domain/permissions.ts';
import { createApiKey } from '../src/store/api-keys.ts';
import { builder } from './builder.ts';
import { actorOf, keyHolderOf, projectUuidOf } from './caller.ts';
import { loadConnection } from './connection.ts';
import type { Caller } from './context.ts';
import { isNameText, nameRequirement } from './input-text.ts';
import { permissionsInput } from './permission-input.ts';
import { checkInput, rule, UserError, type UserErrorShape } from './user-error.ts';

/** The columns of an API key that anybody may see. */
export const apiKeyColumns = {
  id: true,
  projectId: true,
  name: true,
  keyPrefix: true,
  permissions: true,
  createdAt: true,
  expiresAt: true,
  revokedAt: true,
} as const satisfies Prisma.ApiKeySelect;

/** A row of them. */
export type ApiKeyRow = Prisma.ApiKeyGetPayload<{ select: typeof apiKeyColumns }>;

/** The GraphQL enum of permissions. */
export const Permission = builder.enumType('Permission', {
  description: 'What an API key may do.',
  values: {
    VIEW_WEBHOOKS: { description: 'Read and watch everything of the project.' },
    MANAGE_WEBHOOKS: { description: 'Change webhooks, event types, API keys and deliveries.' },
    EMIT_EVENTS: { description: 'Emit events.' },
  },
});

/** The GraphQL type of API keys. */
export const ApiKey = builder.prismaObject('ApiKey', {
  select: apiKeyColumns,
  description: 'A credential of the project; its text is shown once, when it is made.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `key_…`.', resolve: (apiKey) => idFromUuid('apiKey', apiKey.id) }),
    name: t.string({ description: 'What people call it.', resolve: (apiKey) => apiKey.name }),
    prefix: t.string({
      description: 'Its first characters, to recognise it by.',
      resolve: (apiKey) => apiKey.keyPrefix,
    }),
    permissions: t.field({
      type: [Permission],
      description: 'What it may do.',
      resolve: (apiKey) => apiKey.permissions.filter(isPermission),
    }),
    createdAt: t.field({ type: 'DateTime', description: 'When it was made.', resolve: (apiKey) => apiKey.createdAt }),
    expiresAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it stops working by itself; null is never.',
      resolve: (apiKey) => apiKey.expiresAt,
    }),
    revokedAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When a person revoked it; null while nobody has.',
      resolve: (apiKey) => apiKey.revokedAt,
    }),
  }),
});

/** Pages of API keys. */
export const ApiKeyConnection = builder.connectionObject(
  { type: ApiKey, name: 'ApiKeyConnection', description: 'API keys, newest first.' },
  { name: 'ApiKeyEdge', description: 'An API key and its place in the list.' },
);

builder.queryField('apiKeys', (t) =>
  t.field({
    type: ApiKeyConnection,
    needs: 'VIEW_WEBHOOKS',
    description: 'The API keys of the project, newest first, revoked and expired ones included.',
    args: t.arg.connectionArgs(),
    resolve: async (_root, args, context) => {
      const { apiKey } = context.database.prisma;
      const where = { projectId: projectUuidOf(context) };
      return await loadConnection(
        args,
        async ({ where: bounds, ...window }) =>
          await apiKey.findMany({ select: apiKeyColumns, ...window, where: { ...where, ...bounds } }),
        async () => await apiKey.count({ where }),
      );
    },
  }),
);

interface CreateApiKeyResult {
  apiKey: ApiKeyRow | null;
  key: string | null;
  userErrors: UserErrorShape[];
}

const CreateApiKeyInput = builder.inputType('CreateApiKeyInput', {
  description: 'The API key to make.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'What people call it, 1 to 100 characters.' }),
    permissions: t.field({
      type: [Permission],
      required: true,
      description: 'What it may do; at least one, and only what the asking key may do itself.',
    }),
    expiresAt: t.field({ type: 'DateTime', description: 'When it stops working; absent or null is never.' }),
  }),
});

const CreateApiKeyPayload = builder.objectRef<CreateApiKeyResult>('CreateApiKeyPayload').implement({
  description: 'The API key that was made.',
  fields: (t) => ({
    apiKey: t.field({
      type: ApiKey,
      nullable: true,
      description: 'The key, null when none was made.',
      resolve: (result) => result.apiKey,
    }),
    key: t.exposeString('key', {
      nullable: true,
      description: 'Its text, shown here and never again; null when none was made.',
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

builder.mutationField('createApiKey', (t) =>
  t.field({
    type: CreateApiKeyPayload,
    needs: 'MANAGE_WEBHOOKS',
    description: 'Makes an API key of the project. Its text is shown once.',
    args: { input: t.arg({ type: CreateApiKeyInput, required: true, description: 'The key to make.' }) },
    resolve: async (_root, { input }, context) => {
      const caller = keyHolderOf(context);
      const checked = checkInput(apiKeyInput(caller, new Date()), input);
      if (checked.kind === 'refused') return { apiKey: null, key: null, userErrors: checked.userErrors };
      const { apiKey, key } = await createApiKey(context.database, caller.projectId, checked.input, actorOf(context));
      return { apiKey, key, userErrors: [] };
    },
  }),
);

function apiKeyInput(
  caller: Caller,
  now: Date,
): z.ZodType<{ name: string; permissions: GrantedPermission[]; expiresAt: Date | null }> {
  return z.object({
    name: rule<string>(isNameText, 'INVALID_NAME', nameRequirement),
    permissions: permissionsInput(caller),
    expiresAt: rule<Date | null>(
      (expiresAt) => expiresAt === null || expiresAt > now,
      'INVALID_EXPIRES_AT',
      `later than now, ${now.toISOString()}`,
    ).default(null),
  });
}
