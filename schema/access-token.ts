import { z } from 'zod';
import type { Permission as GrantedPermission } from '../src/domain/permissions.ts';
import { recordAudit } from '../src/store/audit.ts';
import { Permission } from './api-key.ts';
import { builder } from './builder.ts';
import { actorOf, keyHolderOf } from './caller.ts';
import type { Caller, SchemaContext } from './context.ts';
import { permissionsInput } from './permission-input.ts';
import { checkInput, rule, UserError, type UserErrorShape } from './user-error.ts';

const lifeSecondsDefault = 3_600;
const lifeSecondsMin = 60;
const lifeSecondsMax = 86_400;

interface CreateAccessTokenResult {
  token: string | null;
  expiresAt: Date | null;
  userErrors: UserErrorShape[];
}

const CreateAccessTokenInput = builder.inputType('CreateAccessTokenInput', {
  description: 'The access token to make.',
  fields: (t) => ({
    permissions: t.field({
      type: [Permission],
      required: true,
      description: 'What it may do; at least one, and only what the asking key may do itself.',
    }),
    expiresInSeconds: t.int({
      defaultValue: lifeSecondsDefault,
      description: 'How long it works, 60 to 86,400 seconds; never longer than the asking key.',
    }),
  }),
});

const CreateAccessTokenPayload = builder.objectRef<CreateAccessTokenResult>('CreateAccessTokenPayload').implement({
  description: 'The access token that was made.',
  fields: (t) => ({
    token: t.exposeString('token', {
      nullable: true,
      description: 'Its text, a JWT, to be sent as an API key is; shown here and never again. Null when none was made.',
    }),
    expiresAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it stops working, to the second; null when none was made.',
      resolve: (result) => result.expiresAt,
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

builder.mutationField('createAccessToken', (t) =>
  t.field({
    type: CreateAccessTokenPayload,
    // Not MANAGE_WEBHOOKS: a server that only shows the feed in browsers needs no key that can change anything.
    needs: 'VIEW_WEBHOOKS',
    description:
      'Makes a short-lived token of the project, for a browser. It is not stored, and works no longer than the API key ' +
      'that made it: when that is revoked or expires, so does the token. A token cannot make tokens or keys.',
    args: { input: t.arg({ type: CreateAccessTokenInput, required: true, description: 'The token to make.' }) },
    resolve: async (_root, { input }, context) => {
      const caller = keyHolderOf(context);
      const checked = checkInput(tokenInput(caller), input);
      if (checked.kind === 'refused') return { token: null, expiresAt: null, userErrors: checked.userErrors };
      return await createToken(context, caller, checked.input);
    },
  }),
);

async function createToken(
  context: SchemaContext,
  { projectId, apiKeyId, expiresAt: keyExpiresAt }: Caller,
  { permissions, expiresInSeconds }: { permissions: GrantedPermission[]; expiresInSeconds: number },
): Promise<CreateAccessTokenResult> {
  const wantedMs = Date.now() + expiresInSeconds * 1000;
  const endMs = Math.min(wantedMs, keyExpiresAt?.getTime() ?? wantedMs);
  const expiresAt = new Date(Math.floor(endMs / 1000) * 1000);
  const token = await context.credentials.issueAccessToken({ apiKeyId, permissions, expiresAt });
  // There is no row of a token: what is recorded is that it was made, before anybody has it.
  const change = { action: 'createAccessToken', targetId: apiKeyId };
  await recordAudit(context.database.prisma, projectId, actorOf(context), change);
  return { token, expiresAt, userErrors: [] };
}

function tokenInput(caller: Caller): z.ZodType<{ permissions: GrantedPermission[]; expiresInSeconds: number }> {
  return z.object({
    permissions: permissionsInput(caller),
    expiresInSeconds: z
      .custom<number | null | undefined>()
      .transform((seconds) => seconds ?? lifeSecondsDefault)
      .pipe(
        rule<number>(
          (seconds) => seconds >= lifeSecondsMin && seconds <= lifeSecondsMax,
          'INVALID_EXPIRES_IN',
          `${lifeSecondsMin} to ${lifeSecondsMax} seconds`,
        ),
      ),
  });
}
