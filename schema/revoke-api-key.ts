import { findId } from '../src/domain/ids.ts';
import { revokeApiKey } from '../src/store/api-keys.ts';
import { ApiKey, type ApiKeyRow } from './api-key.ts';
import { builder } from './builder.ts';
import { actorOf, keyHolderOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { notFoundError, UserError, type UserErrorShape } from './user-error.ts';

interface RevokeApiKeyResult {
  apiKey: ApiKeyRow | null;
  userErrors: UserErrorShape[];
}

const RevokeApiKeyInput = builder.inputType('RevokeApiKeyInput', {
  description: 'Which API key to revoke.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The key, `key_…`; it may be the asking one.' }) }),
});

const RevokeApiKeyPayload = builder.objectRef<RevokeApiKeyResult>('RevokeApiKeyPayload').implement({
  description: 'The API key that was revoked.',
  fields: (t) => ({
    apiKey: t.field({
      type: ApiKey,
      nullable: true,
      description: 'The key as it now is; null when the project has no such key.',
      resolve: (result) => result.apiKey,
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

builder.mutationField('revokeApiKey', (t) =>
  t.field({
    type: RevokeApiKeyPayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Revokes an API key for good, and with it the access tokens that it made: requests with them are refused, and ' +
      'their sockets and event streams end within seconds. One that was revoked before stays as it is.',
    args: { input: t.arg({ type: RevokeApiKeyInput, required: true, description: 'Which key.' }) },
    resolve: async (_root, { input }, context) => await revoke(context, input.id),
  }),
);

async function revoke(context: SchemaContext, id: string): Promise<RevokeApiKeyResult> {
  const { projectId } = keyHolderOf(context);
  const apiKeyId = findId('apiKey', id);
  const apiKey = apiKeyId && (await revokeApiKey(context.database, projectId, apiKeyId, actorOf(context)));
  if (apiKeyId === null || apiKey === null) return { apiKey: null, userErrors: [notFoundError('API key', id)] };
  context.credentials.forgetApiKey(apiKeyId);
  return { apiKey, userErrors: [] };
}
