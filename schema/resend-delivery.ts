import { claimLeaseMs } from '../src/domain/claim-lease.ts';
import { findId, idFromUuid, type DeliveryId } from '../src/domain/ids.ts';
import { resendDelivery, type ResendResult } from '../src/store/resend-delivery.ts';
import { announceChange } from './announce.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { deliveryPayload, type DeliveryResult, refusedDelivery } from './delivery-payload.ts';
import { notFoundError, userError, type UserErrorShape } from './user-error.ts';

const ResendDeliveryInput = builder.inputType('ResendDeliveryInput', {
  description: 'Which delivery to send again.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The delivery, `dlv_…`, wherever it stands.' }) }),
});

const ResendDeliveryPayload = deliveryPayload(
  'ResendDeliveryPayload',
  'The delivery that is sent again.',
  'Why it cannot be sent again.',
);

builder.mutationField('resendDelivery', (t) =>
  t.field({
    type: ResendDeliveryPayload,
    needs: 'MANAGE_WEBHOOKS',
    description: 'Sends a delivery again, now, with a fresh round of its retry schedule.',
    args: { input: t.arg({ type: ResendDeliveryInput, required: true, description: 'Which delivery.' }) },
    resolve: async (_root, { input }, context) => {
      const deliveryId = findId('delivery', input.id);
      if (deliveryId === null) return refusedDelivery(notFoundError('delivery', input.id));
      return await resend(context, deliveryId);
    },
  }),
);

async function resend(context: SchemaContext, deliveryId: DeliveryId): Promise<DeliveryResult> {
  const { database, settings } = context;
  const result = await resendDelivery(database, callerOf(context).projectId, deliveryId, {
    defaultMaxAttempts: settings.maxAttempts,
    claimLeaseMs: claimLeaseMs(settings.attemptTimeoutMs),
    actor: actorOf(context),
  });
  if (result.kind !== 'resent') return refusedDelivery(refusalOf(result, deliveryId));
  await announceChange(context, 'RESENT', result.delivery, async () => {
    await context.enqueue([{ id: deliveryId, webhookId: idFromUuid('webhook', result.delivery.webhookId) }], {
      urgency: 'urgent', // a person waits for it
    });
  });
  return { delivery: result.delivery, userErrors: [] };
}

function refusalOf(result: Exclude<ResendResult, { kind: 'resent' }>, deliveryId: DeliveryId): UserErrorShape {
  if (result.kind === 'not-found') return notFoundError('delivery', deliveryId);
  if (result.kind === 'in-flight') {
    return userError(['id'], 'IN_FLIGHT', `An attempt of delivery "${deliveryId}" is being made right now.`);
  }
  return userError(['id'], 'WEBHOOK_UNAVAILABLE', `The webhook of delivery "${deliveryId}" is ${result.status}.`);
}
