import {
  type AttemptPreview as AttemptPreviewShape,
  attemptPreview,
  type UpcomingAttempt as UpcomingAttemptShape,
  upcomingAttempts,
} from '../src/domain/attempt-preview.ts';
import { builder } from './builder.ts';
import type { SchemaContext } from './context.ts';
import { Delivery, type DeliveryRow } from './delivery.ts';
import { loadWebhook } from './delivery-relations.ts';
import { Webhook, type WebhookRow } from './webhook.ts';

const reckoning =
  'Each time is a range because every wait is spread by ±20 %; a `Retry-After` of the receiver and the time that the attempts themselves take can make it later.';

const UpcomingAttempt = builder.objectRef<UpcomingAttemptShape>('UpcomingAttempt').implement({
  description: `An attempt that a delivery has before it, if those before it fail. ${reckoning}`,
  fields: (t) => ({
    number: t.exposeInt('number', { description: 'Its number over the delivery’s whole life.' }),
    earliestAt: t.expose('earliestAt', { type: 'DateTime', description: 'When it is due if every wait is short.' }),
    latestAt: t.expose('latestAt', { type: 'DateTime', description: 'When it is due if every wait is long.' }),
  }),
});

const AttemptPreview = builder.objectRef<AttemptPreviewShape>('AttemptPreview').implement({
  description: `One of the attempts that each delivery of a webhook can have. ${reckoning}`,
  fields: (t) => ({
    number: t.exposeInt('number', { description: 'From 1.' }),
    earliestAfterSeconds: t.exposeFloat('earliestAfterSeconds', {
      description: 'Seconds after the first attempt if every wait is short.',
    }),
    latestAfterSeconds: t.exposeFloat('latestAfterSeconds', {
      description: 'Seconds after the first attempt if every wait is long.',
    }),
  }),
});

builder.prismaObjectField(Delivery, 'upcomingAttempts', (t) =>
  t.field({
    type: [UpcomingAttempt],
    description:
      'The attempts it has before it, by the webhook’s retry schedule as it now is, were all of them to fail; empty when it has ended, or its webhook takes nothing any more. The one being made is not among them. While the webhook is paused: as if it were resumed now.',
    resolve: async (delivery, _args, context) => {
      const webhook = await loadWebhook(context, delivery.webhookId);
      if (!isTaken(delivery, webhook)) return [];
      return upcomingAttempts(delivery, retryScheduleOf(webhook, context.settings), new Date());
    },
  }),
);

builder.prismaObjectField(Webhook, 'attemptPreview', (t) =>
  t.field({
    type: [AttemptPreview],
    description:
      'When each delivery is attempted, were all of its attempts to fail: by its own `maxAttempts` and `retrySchedule`, or the deployment’s where it has none.',
    resolve: (webhook, _args, { settings }) =>
      attemptPreview(webhook.maxAttempts ?? settings.maxAttempts, retryScheduleOf(webhook, settings)),
  }),
);

/** Whether the webhook takes the delivery, now or once it is resumed; a test goes to a disabled webhook too. */
function isTaken(delivery: Pick<DeliveryRow, 'trigger'>, { status, deletedAt }: WebhookRow): boolean {
  return deletedAt === null && (status !== 'DISABLED' || delivery.trigger === 'TEST');
}

function retryScheduleOf(
  { retrySchedule }: Pick<WebhookRow, 'retrySchedule'>,
  settings: SchemaContext['settings'],
): readonly number[] {
  return retrySchedule.length > 0 ? retrySchedule : settings.retryScheduleSeconds;
}
