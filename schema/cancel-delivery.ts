import { findId, type DeliveryId } from '../src/domain/ids.ts';
import { cancelDelivery, type CancelResult } from '../src/store/cancel-delivery.ts';
import { announceChange } from './announce.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { deliveryPayload, type DeliveryResult, refusedDelivery } from './delivery-payload.ts';
import { notFoundError, userError, type UserErrorShape } from './user-error.ts';

const CancelDeliveryInput = builder.inputType('CancelDeliveryInput', {
  description: 'Which delivery to stop.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The delivery, `dlv_…`, one that has not ended.' }) }),
});

const CancelDeliveryPayload = deliveryPayload(
  'CancelDeliveryPayload',
  'The delivery that was stopped.',
  'Why it cannot be stopped: NOT_FOUND, or ALREADY_ENDED.',
);

builder.mutationField('cancelDelivery', (t) =>
  t.field({
    type: CancelDeliveryPayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Stops a delivery that has not ended: it is CANCELLED at once, and no further attempt begins. An attempt that is ' +
      'under way cannot be taken back: it may reach the receiver, counts in `attemptCount`, and is recorded with its ' +
      'answer, but the delivery stays CANCELLED, even when the receiver takes it. `resendDelivery` sends a cancelled delivery after all.',
    args: { input: t.arg({ type: CancelDeliveryInput, required: true, description: 'Which delivery.' }) },
    resolve: async (_root, { input }, context) => {
      const deliveryId = findId('delivery', input.id);
      if (deliveryId === null) return refusedDelivery(notFoundError('delivery', input.id));
      return await cancel(context, deliveryId);
    },
  }),
);

async function cancel(context: SchemaContext, deliveryId: DeliveryId): Promise<DeliveryResult> {
  const { projectId } = callerOf(context);
  const result = await cancelDelivery(context.database, projectId, deliveryId, actorOf(context));
  if (result.kind !== 'cancelled') return refusedDelivery(refusalOf(result, deliveryId));
  await announceChange(context, 'CANCELLED', result.delivery);
  return { delivery: result.delivery, userErrors: [] };
}

function refusalOf(result: Exclude<CancelResult, { kind: 'cancelled' }>, deliveryId: DeliveryId): UserErrorShape {
  if (result.kind === 'not-found') return notFoundError('delivery', deliveryId);
  return userError(['id'], 'ALREADY_ENDED', `Delivery "${deliveryId}" has ended already: it is ${result.status}.`);
}
