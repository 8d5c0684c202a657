import { createContextCache } from '@pothos/core';
import DataLoader from 'dataloader';
import { deliveryStatuses } from '../src/domain/delivery.ts';
import { idFromUuid } from '../src/domain/ids.ts';
import {
  bucketCount,
  type DeliveryStats as StatsShape,
  loadDeliveryStats,
  loadStatsByWebhook,
  type StatsFigures,
  type StatsRange,
} from '../src/store/delivery-stats.ts';
import { ReadLimitError } from '../src/store/limited-read.ts';
import { tooManyReads } from './too-many-reads.ts';
import { builder } from './builder.ts';
import { callerOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { ownedUuids } from './delivery-filter.ts';
import { apiError, badInput } from './errors.ts';
import { AttemptCounts, AttemptLatency } from './attempt-figures.ts';
import { Webhook } from './webhook.ts';

/** Most buckets of one series. */
const bucketsMax = 1_000;
/** And where each webhook of a list has a series. */
const bucketsOfWebhookMax = 100;
const sinceDefaultMs = 24 * 3_600_000;

const Bucket = builder.enumType('StatsBucket', {
  description: 'How long each bucket of a series is. Buckets begin at full minutes, hours and days of UTC.',
  values: {
    MINUTE: { description: 'A minute.' },
    HOUR: { description: 'An hour.' },
    DAY: { description: 'A day of UTC.' },
  },
});

const DeliveryCounts = builder.objectRef<StatsFigures['counts']>('DeliveryCounts').implement({
  description: 'How many deliveries stand where; together they are all of them.',
  fields: (t) => ({
    total: t.int({
      description: 'All of them.',
      resolve: (counts) => deliveryStatuses.reduce((sum, status) => sum + counts[status], 0),
    }),
    pending: t.exposeInt('PENDING', { description: 'Due, or waiting for their first attempt.' }),
    delivering: t.exposeInt('DELIVERING', { description: 'With an attempt being made.' }),
    delivered: t.exposeInt('DELIVERED', { description: 'Taken by their receivers.' }),
    retrying: t.exposeInt('RETRYING', { description: 'Waiting for another attempt.' }),
    failed: t.exposeInt('FAILED', { description: 'Failed for good.' }),
    skipped: t.exposeInt('SKIPPED', { description: 'Skipped, because their webhook was disabled.' }),
    cancelled: t.exposeInt('CANCELLED', { description: 'Stopped by a person.' }),
  }),
});

const DeliveryStatsBucket = builder.objectRef<StatsShape['series'][number]>('DeliveryStatsBucket').implement({
  description: 'The deliveries created in one bucket of time.',
  fields: (t) => ({
    start: t.expose('start', { type: 'DateTime', description: 'When the bucket begins.' }),
    counts: t.expose('counts', { type: DeliveryCounts, description: 'Where they stand now.' }),
    attempts: t.field({ type: AttemptCounts, description: 'Their attempts so far.', resolve: (bucket) => bucket }),
    latency: t.expose('latency', {
      type: AttemptLatency,
      nullable: true,
      description: 'How long their attempts took; null without attempts.',
    }),
  }),
});

const DeliveryStats = builder.objectRef<StatsShape>('DeliveryStats').implement({
  description:
    'What has become of the deliveries that were created in a range of time, whenever their attempts were made.',
  fields: (t) => ({
    since: t.expose('since', { type: 'DateTime', description: 'Created then or later.' }),
    until: t.expose('until', { type: 'DateTime', description: 'Created before then.' }),
    counts: t.expose('counts', { type: DeliveryCounts, description: 'Where they stand now.' }),
    attempts: t.field({ type: AttemptCounts, description: 'Their attempts so far.', resolve: (stats) => stats }),
    latency: t.expose('latency', {
      type: AttemptLatency,
      nullable: true,
      description: 'How long their attempts took; null without attempts.',
    }),
    series: t.expose('series', {
      type: [DeliveryStatsBucket],
      description: 'The same by time of creation, oldest first, with buckets in which there was nothing.',
    }),
  }),
});

/** When and how finely; what is absent is decided when it is read, so that all that is asked at once means the same now. */
interface RangeArgs {
  since?: Date | null | undefined;
  until?: Date | null | undefined;
  bucket: StatsRange['bucket'];
}

const rangeDescriptions = {
  since: 'Deliveries created then or later; 24 hours before `until` unless said.',
  until: 'Deliveries created before then; now unless said.',
};

builder.queryField('deliveryStats', (t) =>
  t.field({
    type: DeliveryStats,
    needs: 'VIEW_WEBHOOKS',
    extensions: { cost: 50 },
    description:
      'Counts and latencies of the project’s deliveries. QUERY_TOO_COMPLEX when there are too many to be read in time.',
    args: {
      webhookIds: t.arg.idList({ description: 'Only deliveries to these webhooks, at most 100; all unless said.' }),
      since: t.arg({ type: 'DateTime', description: rangeDescriptions.since }),
      until: t.arg({ type: 'DateTime', description: rangeDescriptions.until }),
      bucket: t.arg({
        type: Bucket,
        required: true,
        defaultValue: 'HOUR',
        description: 'How fine the series is: at most 1,000 buckets.',
      }),
    },
    resolve: async (_root, { webhookIds, ...args }, context) => {
      const range = parseRange(args, new Date(), bucketsMax);
      const uuids = await ownedUuids(context, 'webhook', webhookIds ?? null, 'webhookIds');
      const ids = uuids && uuids.map((uuid) => idFromUuid('webhook', uuid));
      return await loadDeliveryStats(context.database, callerOf(context).projectId, ids, range).catch(tooMany);
    },
  }),
);

builder.prismaObjectField(Webhook, 'stats', (t) =>
  t.field({
    type: DeliveryStats,
    extensions: { cost: 20 },
    description:
      'Counts and latencies of its deliveries. QUERY_TOO_COMPLEX when there are too many to be read in time.',
    args: {
      since: t.arg({ type: 'DateTime', description: rangeDescriptions.since }),
      until: t.arg({ type: 'DateTime', description: rangeDescriptions.until }),
      bucket: t.arg({
        type: Bucket,
        required: true,
        defaultValue: 'HOUR',
        description: 'How fine the series is: at most 100 buckets.',
      }),
    },
    resolve: async (webhook, args, context) => {
      // Refused before anything is read; what is read has its range from the loader.
      parseRange(args, new Date(), bucketsOfWebhookMax);
      return await statsLoader(context).load({ uuid: webhook.id, args });
    },
  }),
);

interface StatsKey {
  uuid: string;
  args: RangeArgs;
}

/** One statement for all webhooks that are asked for the same range. */
const statsLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader<StatsKey, StatsShape>(
      async (keys) => {
        const now = new Date();
        const groups = [...Map.groupBy(keys, ({ args }) => JSON.stringify(args)).values()];
        const found = new Map<StatsKey, StatsShape>();
        await Promise.all(
          groups.map(async (group) => {
            for (const [index, stats] of (await loadGroup(context, group, now)).entries()) {
              const key = group[index];
              if (key !== undefined) found.set(key, stats);
            }
          }),
        );
        return keys.map((key) => found.get(key) ?? new Error(`no statistics were loaded for ${key.uuid}`));
      },
      { cache: false },
    ),
);

async function loadGroup(context: SchemaContext, group: readonly StatsKey[], now: Date): Promise<StatsShape[]> {
  const ids = group.map(({ uuid }) => idFromUuid('webhook', uuid));
  const [first] = group;
  if (first === undefined) return [];
  const range = parseRange(first.args, now, bucketsOfWebhookMax);
  return await loadStatsByWebhook(context.database, callerOf(context).projectId, ids, range).catch(tooMany);
}

/** Throws BAD_USER_INPUT naming the argument when there is nothing in the range, or too many buckets. */
function parseRange({ since, until, bucket }: RangeArgs, now: Date, most: number): StatsRange {
  const end = until ?? now;
  const start = since ?? new Date(end.getTime() - sinceDefaultMs);
  if (start >= end) throw badInput('since', `before until, ${end.toISOString()}`, start);
  const range = { since: start, until: end, bucket };
  const count = bucketCount(range);
  if (count > most)
    throw badInput('bucket', `so long that the range has at most ${most}, and not ${count} of them`, bucket);
  return range;
}

/** Throws what the caller can do about a range with too many deliveries; any other error as it is. */
function tooMany(error: unknown): never {
  if (!(error instanceof ReadLimitError)) throw error;
  if (error.reason === 'too-many-at-once') throw tooManyReads();
  const advice = 'Ask for less with since and until, or for fewer webhooks.';
  throw apiError('QUERY_TOO_COMPLEX', `There are too many deliveries in this range to be counted in time. ${advice}`);
}
