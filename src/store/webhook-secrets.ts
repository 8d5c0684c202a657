import { randomBytes } from 'node:crypto';
import type { Prisma, Webhook } from '../../prisma/generated/client/client.ts';
import { parsePrivateKey, privateKeyText, publicKeyText } from '../domain/asymmetric-key.ts';
import { type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import { secretText } from '../domain/signature.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { newUuid } from './new-id.ts';
import type { SecretBox } from './secret-box.ts';

// Workers may keep a webhook's settings for as long as its row's version stands, so whatever changes a webhook's secrets
// changes its row in the same transaction.

/** Most secrets of a webhook and algorithm that sign at once; rotating more often than they expire drops the oldest. */
export const activeSecretsMax = 5;

const hintCharacters = 4;

/** The columns that keep a secret. */
export interface SecretColumns {
  id: string;
  algorithm: 'HMAC_SHA256' | 'ED25519';
  ciphertext: string;
  /** `whpk_…`; null unless the algorithm is ED25519. */
  publicKey: string | null;
  hint: string;
}

/** A fresh signing secret: its text, shown once, and the columns that keep it. */
export interface NewSecret {
  text: string;
  columns: SecretColumns;
}

/** Makes a signing secret, `whsec_` and 32 random bytes in base64. Stores nothing. */
export function newWebhookSecret(secretBox: SecretBox): NewSecret {
  const text = secretText(randomBytes(32));
  const ciphertext = secretBox.encrypt(text);
  const hint = text.slice(-hintCharacters);
  return { text, columns: { id: newUuid(), algorithm: 'HMAC_SHA256', ciphertext, publicKey: null, hint } };
}

/** Makes an ed25519 key pair. Stores nothing; the private key is never shown, so that the hint is the public key's. */
export function newAsymmetricKey(secretBox: SecretBox): SecretColumns {
  const text = privateKeyText(randomBytes(32));
  const publicKey = publicKeyText(parsePrivateKey(text));
  const hint = publicKey.slice(-hintCharacters);
  return { id: newUuid(), algorithm: 'ED25519', ciphertext: secretBox.encrypt(text), publicKey, hint };
}

/**
 * Gives the webhook a new secret, and a new ed25519 key if it signs asymmetrically; the old ones go on signing for
 * `overlapSeconds` (0: not at all), never longer than they already had. Afterwards it has at most five of each. `secret`
 * is shown now and never again. Null when the project has no such webhook. Rotations of one webhook happen one after the
 * other.
 */
export async function rotateWebhookSecret(
  db: Database,
  secretBox: SecretBox,
  projectId: ProjectId,
  rotation: { webhookId: WebhookId; overlapSeconds: number; actor: Actor },
): Promise<{ webhook: Webhook; secret: string } | null> {
  const id = uuidOf(rotation.webhookId);
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
    if (webhook.signAsymmetrically) await addSecret(tx, id, newAsymmetricKey(secretBox));
    const { text, columns } = newWebhookSecret(secretBox);
    await addSecret(tx, id, columns);
    await dropOldSecrets(tx, id);
    await recordAudit(tx, projectId, rotation.actor, { action: 'rotateWebhookSecret', targetId: rotation.webhookId });
    return { webhook, secret: text };
  });
}

/**
 * Sees to it that the webhook has an ed25519 key that does not expire. To be called in a transaction that has changed
 * the webhook's row.
 */
export async function ensureAsymmetricKey(
  tx: Prisma.TransactionClient,
  secretBox: SecretBox,
  webhookUuid: string,
): Promise<void> {
  const current = { webhookId: webhookUuid, algorithm: 'ED25519', expiresAt: null } as const;
  if ((await tx.webhookSecret.findFirst({ where: current })) !== null) return;
  await addSecret(tx, webhookUuid, newAsymmetricKey(secretBox));
  await dropOldSecrets(tx, webhookUuid);
}

async function addSecret(tx: Prisma.TransactionClient, webhookUuid: string, columns: SecretColumns): Promise<void> {
  await tx.$executeRaw`
    insert into webhook_secrets (id, webhook_id, algorithm, ciphertext, public_key, hint, created_at)
    values (${columns.id}::uuid, ${webhookUuid}::uuid, ${columns.algorithm}::secret_algorithm, ${columns.ciphertext},
      ${columns.publicKey}, ${columns.hint}, clock_timestamp())`;
}

/** Deletes the secrets that have expired, and of each algorithm the oldest beyond the limit. */
async function dropOldSecrets(tx: Prisma.TransactionClient, webhookUuid: string): Promise<void> {
  await tx.$executeRaw`
    delete from webhook_secrets
    where webhook_id = ${webhookUuid}::uuid and (expires_at <= clock_timestamp() or id in (
      select id from (
        select id, row_number() over (partition by algorithm order by created_at desc, id desc) as place
        from webhook_secrets
        where webhook_id = ${webhookUuid}::uuid and (expires_at is null or expires_at > clock_timestamp())
      ) active
      where place > ${activeSecretsMax}))`;
}
