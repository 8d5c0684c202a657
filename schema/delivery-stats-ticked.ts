import { idFromUuid } from '../src/domain/ids.ts';
import type { FeedWindow } from '../src/feed/feed-window.ts';
import { subscribeToTicks } from '../src/feed/window-ticks.ts';
import { AttemptCounts, AttemptLatency } from './attempt-figures.ts';
import { builder } from './builder.ts';
import { callerOf } from './caller.ts';
import { ownedUuids } from './delivery-filter.ts';
import { badInput } from './errors.ts';
import { feedErrorOf } from './live-items.ts';

const everySecondsMax = 60;

/** A window, and what it was asked for as. */
interface Snapshot extends FeedWindow {
  windowSeconds: number;
}

const DeliveryChangeCounts = builder.objectRef<FeedWindow['changes']>('DeliveryChangeCounts').implement({
  description: 'How often deliveries changed how; a delivery that changed twice counts twice.',
  fields: (t) => ({
    created: t.exposeInt('CREATED', { description: 'Fanned out to a webhook that gets deliveries.' }),
    delivered: t.exposeInt('DELIVERED', { description: 'Taken by their receivers.' }),
    retryScheduled: t.exposeInt('RETRY_SCHEDULED', { description: 'Failed in an attempt, with another one planned.' }),
    failed: t.exposeInt('FAILED', { description: 'Failed for good.' }),
    skipped: t.exposeInt('SKIPPED', { description: 'Fanned out to a webhook that is disabled.' }),
    cancelled: t.exposeInt('CANCELLED', { description: 'Stopped by a person.' }),
    resent: t.exposeInt('RESENT', { description: 'Sent again by a person.' }),
  }),
});

const DeliveryStatsSnapshot = builder.objectRef<Snapshot>('DeliveryStatsSnapshot').implement({
  description: 'What happened in a window of time, as the feed told it.',
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'When the window ended.' }),
    windowSeconds: t.exposeInt('windowSeconds', { description: 'How long it was.' }),
    complete: t.exposeBoolean('complete', {
      description: 'Whether nothing was missed: false when the feed was interrupted meanwhile.',
    }),
    changes: t.expose('changes', { type: DeliveryChangeCounts, description: 'What changed.' }),
    attempts: t.field({ type: AttemptCounts, description: 'Attempts that ended.', resolve: (snapshot) => snapshot }),
    latency: t.expose('latency', {
      type: AttemptLatency,
      nullable: true,
      description: 'How long these took; null without attempts.',
    }),
  }),
});

builder.subscriptionField('deliveryStatsTicked', (t) =>
  t.field({
    type: DeliveryStatsSnapshot,
    needs: 'VIEW_WEBHOOKS',
    description:
      'What happened to the project’s deliveries in each window of `everySeconds`, told as it ends, quiet ones included. ' +
      'A client that is slow gets the newest.',
    args: {
      webhookIds: t.arg.idList({ description: 'Only deliveries to these webhooks, at most 100; all unless said.' }),
      everySeconds: t.arg.int({
        required: true,
        defaultValue: 5,
        description: 'How long a window is, from 1 to 60 seconds.',
      }),
    },
    subscribe: async (_root, { webhookIds, everySeconds }, context) => {
      if (everySeconds < 1 || everySeconds > everySecondsMax) {
        throw badInput('everySeconds', `from 1 to ${everySecondsMax}`, everySeconds);
      }
      const uuids = await ownedUuids(context, 'webhook', webhookIds ?? null, 'webhookIds');
      const ticks = subscribeToTicks(context.feed, callerOf(context).projectId, {
        webhookIds: uuids && uuids.map((uuid) => idFromUuid('webhook', uuid)),
        everyMs: everySeconds * 1000,
        onWarning: context.onWarning,
      });
      return await ticks.catch((error: unknown) => {
        throw feedErrorOf(error);
      });
    },
    resolve: (window, { everySeconds }) => ({ ...window, windowSeconds: everySeconds }),
  }),
);
