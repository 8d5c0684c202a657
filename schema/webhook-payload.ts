import { builder } from './builder.ts';
import { UserError, type UserErrorShape } from './user-error.ts';
import { Webhook, type WebhookRow } from './webhook.ts';

/** What a mutation of a webhook gives. */
export interface WebhookResult {
  webhook: WebhookRow | null;
  userErrors: UserErrorShape[];
}

/** What a mutation gives that makes a secret. */
export interface WebhookSecretResult extends WebhookResult {
  /** In clear, shown this once. */
  secret: string | null;
}

/** Makes the payload type of a mutation of a webhook. */
export function webhookPayload(name: string, description: string) {
  return builder.objectRef<WebhookResult>(name).implement({
    description,
    fields: (t) => ({
      webhook: t.field({
        type: Webhook,
        nullable: true,
        description: 'The webhook as it now is; null when nothing was done.',
        resolve: (result) => result.webhook,
      }),
      userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
    }),
  });
}

/** Makes the payload type of a mutation that makes a secret. */
export function webhookSecretPayload(name: string, description: string) {
  return builder.objectRef<WebhookSecretResult>(name).implement({
    description,
    fields: (t) => ({
      webhook: t.field({
        type: Webhook,
        nullable: true,
        description: 'The webhook as it now is; null when nothing was done.',
        resolve: (result) => result.webhook,
      }),
      secret: t.exposeString('secret', {
        nullable: true,
        description: 'The new signing secret, `whsec_…`, shown here and never again; null when none was made.',
      }),
      userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
    }),
  });
}
