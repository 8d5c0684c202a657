import { type DeliveryStatus, deliveryStatuses } from '../domain/delivery.ts';
import { idFromUuid, type ProjectId, uuidOf, type WebhookId } from '../domain/ids.ts';
import type { Database } from './database.ts';
import { readMany } from './limited-read.ts';

/** How long a bucket is; they begin at full minutes, hours and days of UTC. */
export type StatsBucket = 'MINUTE' | 'HOUR' | 'DAY';

/** Deliveries created from `since` on and before `until`. */
export interface StatsRange {
  since: Date;
  until: Date;
  bucket: StatsBucket;
}

/** What became of deliveries, as far as it has. */
export interface StatsFigures {
  /** A count for every status, 0 where there is none. */
  counts: Record<DeliveryStatus, number>;
  succeededCount: number;
  failedCount: number;
  /** How long attempts took: the time that this share of them did not exceed. Null without attempts. */
  latency: { p50Ms: number; p95Ms: number; p99Ms: number } | null;
}

/** The figures of a range, and of each bucket in it, empty ones included, oldest first. */
export interface DeliveryStats extends StatsFigures, StatsRange {
  series: (StatsFigures & { start: Date })[];
}

const bucketMs = { MINUTE: 60_000, HOUR: 3_600_000, DAY: 86_400_000 } as const satisfies Record<StatsBucket, number>;

/** How many buckets the range touches. */
export function bucketCount({ since, until, bucket }: StatsRange): number {
  const ms = bucketMs[bucket];
  return Math.ceil(until.getTime() / ms) - Math.floor(since.getTime() / ms);
}

/** Reads what became of the project's deliveries, or of those to some webhooks. Throws a ReadLimitError when they are too many. */
export async function loadDeliveryStats(
  database: Database,
  projectId: ProjectId,
  webhookIds: readonly WebhookId[] | null,
  range: StatsRange,
): Promise<DeliveryStats> {
  const values = valuesOf(projectId, range);
  const statement =
    webhookIds === null
      ? { text: statsSql('null::uuid', 'true'), values }
      : { text: statsSql('null::uuid', ofWebhooks), values: [...values, webhookIds.map((id) => uuidOf(id))] };
  return statsOf(await readMany<StatsRow>(database, projectId, statement), range);
}

/** Reads what became of the deliveries to each webhook, in one statement. Throws a ReadLimitError when they are too many. */
export async function loadStatsByWebhook(
  database: Database,
  projectId: ProjectId,
  webhookIds: readonly WebhookId[],
  range: StatsRange,
): Promise<DeliveryStats[]> {
  const values = [...valuesOf(projectId, range), webhookIds.map((id) => uuidOf(id))];
  const rows = await readMany<StatsRow>(database, projectId, { text: statsSql('d.webhook_id', ofWebhooks), values });
  const byWebhook = Map.groupBy(rows, ({ key }) => (key === null ? null : idFromUuid('webhook', key)));
  return webhookIds.map((id) => statsOf(byWebhook.get(id) ?? [], range));
}

/** A group of deliveries, or the attempts of a group: of all when `start` is null, else of a bucket. */
interface StatsRow {
  key: string | null;
  start: Date | null;
  /** By status, in the order of `deliveryStatuses`; null in a row about attempts. */
  counts: number[] | null;
  succeeded: number | null;
  failed: number | null;
  /** p50, p95, p99. */
  latency: number[] | null;
}

const ofWebhooks = 'd.webhook_id = any($5::uuid[])';

/** A minute is how much the clocks may differ that ids and creation times come from. */
function statsSql(key: string, condition: string): string {
  const counted = deliveryStatuses.map((status) => `count(*) filter (where status = '${status}')`).join(', ');
  return `
with picked as materialized (
  select d.id, d.status, ${key} as key, date_bin($4::interval, d.created_at, 'epoch'::timestamptz) as start
  from deliveries d
  where d.project_id = $1::uuid and ${condition}
    and d.id >= posthorn_uuid_at(greatest($2::timestamptz - interval '1 minute', 'epoch'::timestamptz))
    and d.id < posthorn_uuid_at(greatest($3::timestamptz + interval '1 minute', 'epoch'::timestamptz))
    and d.created_at >= $2::timestamptz and d.created_at < $3::timestamptz
)
select key, start, array[${counted}]::int[] as counts, null::int as succeeded, null::int as failed, null::int[] as latency
from picked group by grouping sets ((key), (key, start))
union all
select p.key, p.start, null, count(*) filter (where a.outcome = 'SUCCEEDED')::int,
  count(*) filter (where a.outcome = 'FAILED')::int,
  percentile_disc(array[0.5, 0.95, 0.99]) within group (order by a.duration_ms)
from picked p
-- The offset keeps this from becoming a join, which could read the attempts of everybody.
cross join lateral (select outcome, duration_ms from attempts where delivery_id = p.id offset 0) a
group by grouping sets ((p.key), (p.key, p.start))`;
}

function valuesOf(projectId: ProjectId, { since, until, bucket }: StatsRange): unknown[] {
  return [uuidOf(projectId), since, until, `1 ${bucket}`];
}

function statsOf(rows: readonly StatsRow[], range: StatsRange): DeliveryStats {
  const byStart = Map.groupBy(rows, ({ start }) => start?.getTime() ?? null);
  const ms = bucketMs[range.bucket];
  const firstMs = Math.floor(range.since.getTime() / ms) * ms;
  const series = Array.from({ length: bucketCount(range) }, (_, index) => {
    const startMs = firstMs + index * ms;
    return { start: new Date(startMs), ...figuresOf(byStart.get(startMs) ?? []) };
  });
  return { ...range, ...figuresOf(byStart.get(null) ?? []), series };
}

function figuresOf(rows: readonly StatsRow[]): StatsFigures {
  const counts = rows.find((row) => row.counts !== null)?.counts ?? [];
  const attempts = rows.find((row) => row.counts === null);
  return {
    counts: countsOf(counts),
    succeededCount: attempts?.succeeded ?? 0,
    failedCount: attempts?.failed ?? 0,
    latency: latencyOf(attempts?.latency ?? null),
  };
}

function latencyOf(percentiles: readonly number[] | null): StatsFigures['latency'] {
  if (percentiles === null) return null;
  const [p50Ms = Number.NaN, p95Ms = Number.NaN, p99Ms = Number.NaN] = percentiles;
  return { p50Ms, p95Ms, p99Ms };
}

function countsOf(inOrder: readonly number[]): Record<DeliveryStatus, number> {
  const counts = { PENDING: 0, DELIVERING: 0, DELIVERED: 0, RETRYING: 0, FAILED: 0, SKIPPED: 0, CANCELLED: 0 };
  for (const [index, status] of deliveryStatuses.entries()) counts[status] = inOrder[index] ?? 0;
  return counts;
}
