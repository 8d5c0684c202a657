import { z } from 'zod';
import { findId, idFromUuid, type WebhookId } from '../src/domain/ids.ts';
import { maskedWebhookHeaders, type WebhookHeader } from '../src/store/webhook-headers.ts';
import { rotateWebhookSecret } from '../src/store/webhook-secrets.ts';
import { createWebhook, updateWebhook } from '../src/store/webhooks.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf, projectUuidOf } from './caller.ts';
import { checkWebhook } from './check-webhook.ts';
import type { SchemaContext } from './context.ts';
import { checkInput, notFoundError, rule, type UserErrorShape } from './user-error.ts';
import { findUuid } from './uuid.ts';
import { SignatureStyle } from './webhook.ts';
import { newWebhookInput, unsignableError, webhookChanges } from './webhook-input.ts';
import { webhookPayload, type WebhookResult, webhookSecretPayload } from './webhook-payload.ts';

const overlapSecondsMax = 604_800;

const HeaderInput = builder.inputType('HeaderInput', {
  description: 'An HTTP header that a webhook’s requests carry.',
  fields: (t) => ({
    name: t.string({
      required: true,
      description:
        'Its name; what Posthorn or HTTP sets itself is reserved: content-type, host, traceparent, webhook-…, x-…-signature.',
    }),
    value: t.string({ required: true, description: 'Its value: at most 1 KiB of printable ASCII. Stored encrypted.' }),
  }),
});

const CreateWebhookInput = builder.inputType('CreateWebhookInput', {
  description: 'The webhook to make. Null is as absent: the default.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'What people call it, 1 to 100 characters.' }),
    url: t.string({ required: true, description: 'Where requests go.' }),
    eventTypes: t.stringList({
      defaultValue: ['*'],
      description: 'Filters of the events it gets, 1 to 50: `*`, `config.*` or an exact type.',
    }),
    description: t.string({ description: 'What it is for, at most 1,000 characters.' }),
    headers: t.field({ type: [HeaderInput], description: 'Headers that its requests carry, at most 20.' }),
    signatureStyle: t.field({
      type: SignatureStyle,
      description: 'How requests are signed; STANDARD_WEBHOOKS unless said.',
    }),
    signAsymmetrically: t.boolean({
      defaultValue: false,
      description: 'Whether they are signed with an ed25519 key (`v1a`) as well; only with STANDARD_WEBHOOKS.',
    }),
    maxAttempts: t.int({ description: 'Attempts in all for each delivery, 1 to 50; null takes the default.' }),
    retrySchedule: t.intList({ description: 'Waits in seconds after each failed attempt; null takes the default.' }),
    rateLimitPerSecond: t.int({ description: 'Most requests per second, 1 to 10,000; null is no limit.' }),
  }),
});

const UpdateWebhookInput = builder.inputType('UpdateWebhookInput', {
  description:
    'What to change of a webhook. What is absent stays as it is; name, url, eventTypes, signatureStyle and signAsymmetrically cannot be null.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The webhook, `wh_…`.' }),
    name: t.string({ description: 'What people call it, 1 to 100 characters.' }),
    url: t.string({ description: 'Where requests go.' }),
    eventTypes: t.stringList({ description: 'Filters of the events it gets, 1 to 50.' }),
    description: t.string({ description: 'What it is for; null removes it.' }),
    headers: t.field({
      type: [HeaderInput],
      description:
        'All headers that its requests carry; a masked value as it was shown keeps what is behind it. Null removes all.',
    }),
    signatureStyle: t.field({ type: SignatureStyle, description: 'How requests are signed.' }),
    signAsymmetrically: t.boolean({
      description: 'Whether they are signed with an ed25519 key (`v1a`) as well; only with STANDARD_WEBHOOKS.',
    }),
    maxAttempts: t.int({ description: 'Attempts in all for each delivery, 1 to 50; null takes the default.' }),
    retrySchedule: t.intList({ description: 'Waits in seconds after each failed attempt; null takes the default.' }),
    rateLimitPerSecond: t.int({ description: 'Most requests per second, 1 to 10,000; null is no limit.' }),
  }),
});

const RotateWebhookSecretInput = builder.inputType('RotateWebhookSecretInput', {
  description: 'Which webhook gets a new secret.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The webhook, `wh_…`.' }),
    overlapSeconds: t.int({
      defaultValue: 86_400,
      description: 'How long the old secrets go on signing beside the new one, 0 to 604,800 seconds.',
    }),
  }),
});

const CreateWebhookPayload = webhookSecretPayload('CreateWebhookPayload', 'The webhook that was made.');
const UpdateWebhookPayload = webhookPayload('UpdateWebhookPayload', 'The webhook that was changed.');
const RotateWebhookSecretPayload = webhookSecretPayload(
  'RotateWebhookSecretPayload',
  'The webhook and its new secret.',
);

const overlapInput = z.object({
  overlapSeconds: z
    .custom<number | null | undefined>()
    .transform((seconds) => seconds ?? 86_400)
    .pipe(
      rule<number>(
        (seconds) => seconds >= 0 && seconds <= overlapSecondsMax,
        'INVALID_OVERLAP',
        `0 to ${overlapSecondsMax} seconds`,
      ),
    ),
});

builder.mutationFields((t) => ({
  createWebhook: t.field({
    type: CreateWebhookPayload,
    needs: 'MANAGE_WEBHOOKS',
    description: 'Makes a webhook with its first signing secret, which is shown once.',
    args: { input: t.arg({ type: CreateWebhookInput, required: true, description: 'The webhook to make.' }) },
    resolve: async (_root, { input }, context) => {
      const { database, secretBox, settings } = context;
      const checked = await checkWebhook(context, newWebhookInput(settings), withoutNulls(input));
      if (checked.kind === 'refused') return { webhook: null, secret: null, userErrors: checked.userErrors };
      const creation = { ...checked.input, actor: actorOf(context) };
      const created = await createWebhook(database, secretBox, callerOf(context).projectId, creation);
      return { ...created, userErrors: [] };
    },
  }),
  updateWebhook: t.field({
    type: UpdateWebhookPayload,
    needs: 'MANAGE_WEBHOOKS',
    description: 'Changes a webhook; deliveries under way still see it as it was.',
    args: { input: t.arg({ type: UpdateWebhookInput, required: true, description: 'What to change.' }) },
    resolve: async (_root, { input: { id, ...changes } }, context) => await changeWebhook(context, id, changes),
  }),
  rotateWebhookSecret: t.field({
    type: RotateWebhookSecretPayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Gives a webhook a new signing secret, shown once, and a new key pair if it has one; the old ones go on signing for a while.',
    args: { input: t.arg({ type: RotateWebhookSecretInput, required: true, description: 'Which webhook.' }) },
    resolve: async (_root, { input: { id, ...input } }, context) => {
      const webhookId = findId('webhook', id);
      const checked = checkInput(overlapInput, input);
      if (checked.kind === 'refused') return { webhook: null, secret: null, userErrors: checked.userErrors };
      const { database, secretBox } = context;
      const rotation = webhookId === null ? null : { webhookId, ...checked.input, actor: actorOf(context) };
      const rotated =
        rotation === null
          ? null
          : await rotateWebhookSecret(database, secretBox, callerOf(context).projectId, rotation);
      if (rotated === null) return { webhook: null, secret: null, userErrors: [notFoundError('webhook', id)] };
      return { ...rotated, userErrors: [] };
    },
  }),
}));

async function changeWebhook(
  context: SchemaContext,
  id: string,
  changes: { signAsymmetrically?: boolean | null | undefined },
): Promise<WebhookResult> {
  const found = await findWebhook(context, id);
  if (found === null) return refused([notFoundError('webhook', id)]);
  const { database, secretBox, settings } = context;
  const checked = await checkWebhook(context, webhookChanges(settings, found.maskedHeaders), changes);
  if (checked.kind === 'refused') return refused(checked.userErrors);
  const update = { webhookId: found.webhookId, changes: checked.input, actor: actorOf(context) };
  const updated = await updateWebhook(database, secretBox, callerOf(context).projectId, update);
  if (updated.kind === 'missing') return refused([notFoundError('webhook', id)]);
  if (updated.kind === 'unsignable') {
    return refused([unsignableError(changes.signAsymmetrically ? 'signAsymmetrically' : 'signatureStyle')]);
  }
  return { webhook: updated.webhook, userErrors: [] };
}

/** For a new webhook null means absent: the default. */
function withoutNulls(input: object): object {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== null));
}

function refused(userErrors: UserErrorShape[]): WebhookResult {
  return { webhook: null, userErrors };
}

async function findWebhook(
  context: SchemaContext,
  id: string,
): Promise<{ webhookId: WebhookId; maskedHeaders: readonly WebhookHeader[] } | null> {
  const uuid = findUuid('webhook', id);
  if (uuid === null) return null;
  const row = await context.database.prisma.webhook.findFirst({
    select: { headers: true },
    where: { id: uuid, projectId: projectUuidOf(context), deletedAt: null },
  });
  return row && { webhookId: idFromUuid('webhook', uuid), maskedHeaders: maskedWebhookHeaders(context.secretBox, row) };
}
