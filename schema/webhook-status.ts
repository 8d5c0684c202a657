import { findId, idFromUuid, type ProjectId, uuidOf, type WebhookId } from '../src/domain/ids.ts';
import type { DeliveryId } from '../src/domain/ids.ts';
import { pauseWebhook, resumeWebhook } from '../src/store/webhook-status.ts';
import { deleteWebhook } from '../src/store/webhooks.ts';
import { announce, announceAsRead } from './announce.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { deliveryColumns } from './delivery.ts';
import { webhookEntry } from '../src/feed/feed-entries.ts';
import { changedEntry } from './feed-rows.ts';
import { notFoundError } from './user-error.ts';
import type { WebhookRow } from './webhook.ts';
import { webhookPayload, type WebhookResult } from './webhook-payload.ts';

/** Cancelled deliveries announced at a time. */
const announcedAtOnceMax = 500;

function webhookIdInput(name: string, description: string) {
  return builder.inputType(name, {
    description,
    fields: (t) => ({ id: t.id({ required: true, description: 'The webhook, `wh_…`.' }) }),
  });
}

const DeleteWebhookInput = webhookIdInput('DeleteWebhookInput', 'Which webhook to delete.');
const PauseWebhookInput = webhookIdInput('PauseWebhookInput', 'Which webhook to pause.');
const ResumeWebhookInput = webhookIdInput('ResumeWebhookInput', 'Which webhook to resume.');

const DeleteWebhookPayload = webhookPayload('DeleteWebhookPayload', 'The webhook that was deleted.');
const PauseWebhookPayload = webhookPayload('PauseWebhookPayload', 'The webhook that was paused.');
const ResumeWebhookPayload = webhookPayload('ResumeWebhookPayload', 'The webhook that was resumed.');

builder.mutationFields((t) => ({
  deleteWebhook: t.field({
    type: DeleteWebhookPayload,
    needs: 'MANAGE_WEBHOOKS',
    description: 'Deletes a webhook: its waiting deliveries are cancelled, its history stays.',
    args: { input: t.arg({ type: DeleteWebhookInput, required: true, description: 'Which webhook.' }) },
    resolve: async (_root, { input }, context) =>
      await changeStatus(context, input.id, async (projectId, webhookId) => {
        const deleted = await deleteWebhook(context.database, projectId, webhookId, actorOf(context));
        if (deleted !== null) await announceCancelled(context, deleted.cancelled);
        return deleted && { webhook: deleted.webhook };
      }),
  }),
  pauseWebhook: t.field({
    type: PauseWebhookPayload,
    needs: 'MANAGE_WEBHOOKS',
    description: 'Pauses a webhook: its deliveries wait until it is resumed. Nothing changes for one that is disabled.',
    args: { input: t.arg({ type: PauseWebhookInput, required: true, description: 'Which webhook.' }) },
    resolve: async (_root, { input }, context) =>
      await changeStatus(context, input.id, async (projectId, webhookId) => {
        const webhook = await pauseWebhook(context.database, projectId, webhookId, actorOf(context));
        return webhook && { webhook };
      }),
  }),
  resumeWebhook: t.field({
    type: ResumeWebhookPayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Makes a paused, disabled or failing webhook active again and sends what waited for it; planned retries keep their time.',
    args: { input: t.arg({ type: ResumeWebhookInput, required: true, description: 'Which webhook.' }) },
    resolve: async (_root, { input }, context) =>
      await changeStatus(context, input.id, async (projectId, webhookId) => {
        const resumed = await resumeWebhook(context.database, projectId, webhookId, actorOf(context));
        if (resumed !== null) await enqueueReleased(context, resumed);
        return resumed && { webhook: resumed.webhook };
      }),
  }),
}));

/** What waited for the webhook goes out; the worker that gets these goes on with the others. */
async function enqueueReleased(
  context: SchemaContext,
  { webhook, released }: { webhook: WebhookRow; released: readonly DeliveryId[] },
): Promise<void> {
  const webhookId = idFromUuid('webhook', webhook.id);
  await context.enqueue(
    released.map((id) => ({ id, webhookId })),
    { urgency: 'released' },
  );
}

/** Changes the status, announces it, and says so when the project has no such webhook. */
async function changeStatus(
  context: SchemaContext,
  id: string,
  change: (projectId: ProjectId, webhookId: WebhookId) => Promise<{ webhook: WebhookRow } | null>,
): Promise<WebhookResult> {
  const webhookId = findId('webhook', id);
  const changed = webhookId === null ? null : await change(callerOf(context).projectId, webhookId);
  if (webhookId === null || changed === null) return { webhook: null, userErrors: [notFoundError('webhook', id)] };
  await announce(context, [webhookEntry(webhookId, new Date())]);
  return { webhook: changed.webhook, userErrors: [] };
}

async function announceCancelled(context: SchemaContext, cancelled: readonly DeliveryId[]): Promise<void> {
  for (let start = 0; start < cancelled.length; start += announcedAtOnceMax) {
    const uuids = cancelled.slice(start, start + announcedAtOnceMax).map((id) => uuidOf(id));
    await announceAsRead(context, async () => {
      const rows = await context.database.prisma.delivery.findMany({
        where: { id: { in: uuids } },
        select: { ...deliveryColumns, event: { select: { type: true } } },
        orderBy: { id: 'asc' },
      });
      const now = new Date();
      return rows.map(({ event, ...row }) => changedEntry('CANCELLED', row, event.type, now));
    });
  }
}
