import { randomBytes } from 'node:crypto';
import type { Webhook } from '../../prisma/generated/client/client.ts';
import { type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import { secretText } from '../domain/signature.ts';
import type { Database } from './database.ts';
import { newUuid } from './new-id.ts';
import type { SecretBox } from './secret-box.ts';

/** Most secrets of a webhook that sign at once; rotating more often than they expire drops the oldest. */
export const activeSecretsMax = 5;

const hintCharacters = 4;

/** A fresh signing secret: its text, shown once, and the columns that keep it. */
export interface NewSecret {
  text: string;
  columns: { id: string; ciphertext: string; hint: string };
}

/** Makes a signing secret, `whsec_` and 32 random bytes in base64. Stores nothing. */
export function newWebhookSecret(secretBox: SecretBox): NewSecret {
  const text = secretText(randomBytes(32));
  return { text, columns: { id: newUuid(), ciphertext: secretBox.encrypt(text), hint: text.slice(-hintCharacters) } };
}

/**
 * Gives the webhook a new secret; the old ones go on signing for `overlapSeconds` (0: not at all), never longer than
 * they already had. Afterwards it has at most five. `secret` is shown now and never again. Null when the project has no
 * such webhook. Rotations of one webhook happen one after the other.
 */
export async function rotateWebhookSecret(
  db: Database,
  secretBox: SecretBox,
  projectId: ProjectId,
  rotation: { webhookId: WebhookId; overlapSeconds: number },
): Promise<{ webhook: Webhook; secret: string } | null> {
  const id = uuidOf(rotation.webhookId);
  const { text, columns } = newWebhookSecret(secretBox);
  return await db.prisma.$transaction(async (tx) => {
    // This update also locks the webhook: a second rotation waits here, and then sees what the first one stored.
    const [webhook] = await tx.webhook.updateManyAndReturn({
      where: { id, projectId: uuidOf(projectId), deletedAt: null },
      data: { updatedAt: new Date() },
    });
    if (webhook === undefined) return null;
    // The clock is read after the lock, since now() is when the transaction began, perhaps before the other rotation's;
    // and cut to the column's milliseconds, since rounded up it would leave an overlap of 0 a moment to live.
    await tx.$executeRaw`
      update webhook_secrets
      set expires_at = least(expires_at,
        date_trunc('milliseconds', clock_timestamp()) + make_interval(secs => ${rotation.overlapSeconds}::float8))
      where webhook_id = ${id}::uuid`;
    await tx.$executeRaw`
      insert into webhook_secrets (id, webhook_id, ciphertext, hint, created_at)
      values (${columns.id}::uuid, ${id}::uuid, ${columns.ciphertext}, ${columns.hint}, clock_timestamp())`;
    await tx.$executeRaw`
      delete from webhook_secrets
      where webhook_id = ${id}::uuid and (expires_at <= clock_timestamp() or id not in (
        select id from webhook_secrets
        where webhook_id = ${id}::uuid and (expires_at is null or expires_at > clock_timestamp())
        order by created_at desc, id desc limit ${activeSecretsMax}))`;
    return { webhook, secret: text };
  });
}
