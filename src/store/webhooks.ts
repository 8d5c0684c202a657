import type { Prisma, Webhook } from '../../prisma/generated/client/client.ts';
import { type DeliveryId, idFromUuid, type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import { isSignatureChoice, type SignatureChoice, type SignatureStyle } from '../domain/signature.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { newId } from './new-id.ts';
import type { SecretBox } from './secret-box.ts';
import { changedWebhookHeaders, encryptedWebhookHeaders, type WebhookHeader } from './webhook-headers.ts';
import { ensureAsymmetricKey, newAsymmetricKey, newWebhookSecret } from './webhook-secrets.ts';

/** What a person says about a webhook; checked before it comes here. */
export interface WebhookInput {
  name: string;
  description: string | null;
  url: string;
  /** At least one filter (src/domain/event-type.ts). */
  eventTypes: readonly string[];
  /** Values in clear; they are encrypted here. */
  headers: readonly WebhookHeader[];
  signatureStyle: SignatureStyle;
  /** Only with STANDARD_WEBHOOKS. */
  signAsymmetrically: boolean;
  /** Null takes the deployment's default. */
  maxAttempts: number | null;
  /** Whole seconds; empty takes the deployment's default. */
  retrySchedule: readonly number[];
  /** Null is no limit. */
  rateLimitPerSecond: number | null;
}

/** What changes of a webhook; what is absent stays. Header values that come back masked as they were shown stay too. */
export type WebhookChanges = { readonly [Field in keyof WebhookInput]?: WebhookInput[Field] | undefined };

/** Deliveries that one statement cancels. */
const cancelStepMax = 1_000;
/** Steps of one deletion; the claim cancels what is left when it meets it. */
const cancelStepsMax = 100;
const beforeAllIds = '00000000-0000-0000-0000-000000000000';

/**
 * Creates a webhook with its first signing secret, which is shown now and never again, and with an ed25519 key pair if it
 * signs asymmetrically.
 */
export async function createWebhook(
  db: Database,
  secretBox: SecretBox,
  projectId: ProjectId,
  { actor, ...input }: WebhookInput & { actor: Actor },
): Promise<{ webhook: Webhook; secret: string }> {
  const asymmetricKeys = input.signAsymmetrically ? [newAsymmetricKey(secretBox)] : [];
  const secret = newWebhookSecret(secretBox);
  const webhookId = newId('webhook');
  const data = {
    ...input,
    id: uuidOf(webhookId),
    projectId: uuidOf(projectId),
    eventTypes: [...input.eventTypes],
    retrySchedule: [...input.retrySchedule],
    headers: storedHeaders(encryptedWebhookHeaders(secretBox, input.headers)),
    secrets: { create: [...asymmetricKeys, secret.columns] },
  };
  const webhook = await db.prisma.$transaction(async (tx) => {
    const created = await tx.webhook.create({ data });
    await recordAudit(tx, projectId, actor, { action: 'createWebhook', targetId: webhookId });
    return created;
  });
  return { webhook, secret: secret.text };
}

/** What a change came to. `unsignable`: its resulting signatures cannot be had, and nothing was changed. */
export type WebhookUpdate = { kind: 'updated'; webhook: Webhook } | { kind: 'missing' } | { kind: 'unsignable' };

/**
 * Changes a webhook and gives it as it now is; `missing` when the project has none such. One that comes to sign
 * asymmetrically gets an ed25519 key pair unless it has one.
 */
export async function updateWebhook(
  db: Database,
  secretBox: SecretBox,
  projectId: ProjectId,
  update: { webhookId: WebhookId; changes: WebhookChanges; actor: Actor },
): Promise<WebhookUpdate> {
  const id = uuidOf(update.webhookId);
  const { headers, eventTypes, retrySchedule, ...columns } = definedOf(update.changes);
  return await db.prisma.$transaction(async (tx) => {
    // Locked, so that masked headers and the signatures are read against what is really replaced.
    const current = await lockWebhook(tx, projectId, id);
    if (current === null) return { kind: 'missing' };
    if (!isSignatureChoice({ ...current, ...columns })) return { kind: 'unsignable' };
    const webhook = await tx.webhook.update({
      where: { id },
      data: {
        ...columns,
        ...(eventTypes && { eventTypes: [...eventTypes] }),
        ...(retrySchedule && { retrySchedule: [...retrySchedule] }),
        ...(headers && { headers: storedHeaders(changedWebhookHeaders(secretBox, current, headers)) }),
      },
    });
    if (webhook.signAsymmetrically) await ensureAsymmetricKey(tx, secretBox, id);
    await recordAudit(tx, projectId, update.actor, { action: 'updateWebhook', targetId: update.webhookId });
    return { kind: 'updated', webhook };
  });
}

async function lockWebhook(
  tx: Prisma.TransactionClient,
  projectId: ProjectId,
  webhookUuid: string,
): Promise<(SignatureChoice & { headers: unknown }) | null> {
  const [row] = await tx.$queryRaw<(SignatureChoice & { headers: unknown })[]>`
    select headers, signature_style::text as "signatureStyle", sign_asymmetrically as "signAsymmetrically"
    from webhooks
    where id = ${webhookUuid}::uuid and project_id = ${uuidOf(projectId)}::uuid and deleted_at is null
    for no key update`;
  return row ?? null;
}

/**
 * Deletes a webhook, softly: its history stays. Its waiting deliveries are cancelled and given, at most 100,000; those
 * under way end by themselves, and the claim cancels whatever it still meets. Null when the project has no such webhook.
 */
export async function deleteWebhook(
  db: Database,
  projectId: ProjectId,
  webhookId: WebhookId,
  actor: Actor,
): Promise<{ webhook: Webhook; cancelled: DeliveryId[] } | null> {
  const webhook = await db.prisma.$transaction(async (tx) => {
    const [deleted] = await tx.webhook.updateManyAndReturn({
      where: { id: uuidOf(webhookId), projectId: uuidOf(projectId), deletedAt: null },
      data: { deletedAt: new Date() },
    });
    if (deleted === undefined) return null;
    await recordAudit(tx, projectId, actor, { action: 'deleteWebhook', targetId: webhookId });
    return deleted;
  });
  if (webhook === null) return null;
  // The deletion has committed: a resend that came first is seen here, one that comes later is refused.
  const cancelled: DeliveryId[] = [];
  for (let step = 0; step < cancelStepsMax; step += 1) {
    const ids = await cancelWaiting(db, webhook, cancelled.at(-1) ?? null);
    cancelled.push(...ids);
    if (ids.length < cancelStepMax) break;
  }
  return { webhook, cancelled };
}

async function cancelWaiting(db: Database, webhook: Webhook, after: DeliveryId | null): Promise<DeliveryId[]> {
  const { rows } = await db.upkeep.query<{ id: string }>(
    // Locked rows are skipped: a worker is claiming them, and its claim cancels them.
    `with step as (
      select id from deliveries
      where project_id = $1 and webhook_id = $2 and id > $3
        and status in ('PENDING', 'RETRYING') and (due_at is not null or held)
      order by id limit $4 for update skip locked
    )
    update deliveries d
    set status = 'CANCELLED', failure_reason = 'WEBHOOK_DELETED', finished_at = now(), due_at = null, held = false
    from step where d.id = step.id returning d.id`,
    [webhook.projectId, webhook.id, after === null ? beforeAllIds : uuidOf(after), cancelStepMax],
  );
  return rows.map((row) => idFromUuid('delivery', row.id)).sort();
}

/** Prisma takes JSON as objects with index signatures. */
function storedHeaders(headers: readonly WebhookHeader[]): { name: string; value: string }[] {
  return headers.map(({ name, value }) => ({ name, value }));
}

type Defined<Fields> = { [Field in keyof Fields]?: Exclude<Fields[Field], undefined> };

function definedOf(changes: WebhookChanges): Defined<WebhookChanges> {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the filter is what the type says
  return Object.fromEntries(
    Object.entries(changes).filter(([, value]) => value !== undefined),
  ) as Defined<WebhookChanges>;
}
