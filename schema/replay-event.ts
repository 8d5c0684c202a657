import { claimLeaseMs } from '../src/domain/claim-lease.ts';
import { findId, idFromUuid } from '../src/domain/ids.ts';
import { replayEvent, type ReplayResult, type ReplayTarget } from '../src/store/replay-event.ts';
import { announceChange } from './announce.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { deliveryPayload, type DeliveryResult, refusedDelivery } from './delivery-payload.ts';
import { shown } from './errors.ts';
import { userError, type UserErrorShape } from './user-error.ts';

const ReplayEventInput = builder.inputType('ReplayEventInput', {
  description: 'Which event to send, and where to.',
  fields: (t) => ({
    eventId: t.id({ required: true, description: 'The event, `evt_…`.' }),
    webhookId: t.id({
      required: true,
      description: 'The webhook, `wh_…`: any that is not disabled, whatever its filters and its age.',
    }),
  }),
});

const ReplayEventPayload = deliveryPayload(
  'ReplayEventPayload',
  'The delivery by which the event is sent.',
  'Why it cannot be sent: NOT_FOUND, WEBHOOK_UNAVAILABLE, or IN_FLIGHT.',
);

builder.mutationField('replayEvent', (t) =>
  t.field({
    type: ReplayEventPayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Sends an event to a webhook now, also to one that never got it: created later, or whose filters do not take it. ' +
      'A delivery that the webhook has of it is resent, with a fresh round of its retry schedule; otherwise one is created. ' +
      'A paused webhook gets it when it is resumed.',
    args: { input: t.arg({ type: ReplayEventInput, required: true, description: 'Which event, and where to.' }) },
    resolve: async (_root, { input }, context) => {
      const eventId = findId('event', input.eventId);
      if (eventId === null) return refusedDelivery(missing('event', input.eventId));
      const webhookId = findId('webhook', input.webhookId);
      if (webhookId === null) return refusedDelivery(missing('webhook', input.webhookId));
      return await replay(context, { eventId, webhookId });
    },
  }),
);

async function replay(context: SchemaContext, target: ReplayTarget): Promise<DeliveryResult> {
  const { database, settings } = context;
  const result = await replayEvent(database, callerOf(context).projectId, target, {
    actor: actorOf(context),
    defaultMaxAttempts: settings.maxAttempts,
    claimLeaseMs: claimLeaseMs(settings.attemptTimeoutMs),
  });
  if (result.kind !== 'created' && result.kind !== 'resent') return refusedDelivery(refusalOf(result, target));
  const { delivery } = result;
  await announceChange(context, result.kind === 'created' ? 'CREATED' : 'RESENT', delivery, async () => {
    if (delivery.held) return;
    await context.enqueue([{ id: idFromUuid('delivery', delivery.id), webhookId: target.webhookId }], {
      urgency: 'urgent', // a person waits for it
    });
  });
  return { delivery, userErrors: [] };
}

function refusalOf(
  result: Exclude<ReplayResult, { kind: 'created' | 'resent' }>,
  { eventId, webhookId }: ReplayTarget,
): UserErrorShape {
  if (result.kind === 'no-event') return missing('event', eventId);
  if (result.kind === 'no-webhook') return missing('webhook', webhookId);
  if (result.kind === 'webhook-unavailable') {
    return userError(['webhookId'], 'WEBHOOK_UNAVAILABLE', `Webhook "${webhookId}" is ${result.status}.`);
  }
  const message = `An attempt of event "${eventId}" to webhook "${webhookId}" is being made right now.`;
  return { field: null, code: 'IN_FLIGHT', message };
}

function missing(what: 'event' | 'webhook', id: string): UserErrorShape {
  return userError([`${what}Id`], 'NOT_FOUND', `No ${what} with id ${shown(id)}.`);
}
