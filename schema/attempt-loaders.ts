import { createContextCache } from '@pothos/core';
import DataLoader from 'dataloader';
import type { QueryConfig } from 'pg';
import type { Prisma } from '../prisma/generated/client/client.ts';
import type { PageWindow } from './connection.ts';
import type { SchemaContext } from './context.ts';

// Attempts of many deliveries in one statement each, however many deliveries a page shows. Nothing is remembered: a
// subscription's context lives as long as its socket, and what it shows must be as of now.

/** The columns of an attempt that every list reads; response headers and body are read only when somebody asks. */
export const attemptColumns = {
  id: true,
  deliveryId: true,
  number: true,
  outcome: true,
  trigger: true,
  startedAt: true,
  durationMs: true,
  dnsMs: true,
  connectMs: true,
  tlsMs: true,
  firstByteMs: true,
  responseStatus: true,
  errorCode: true,
  errorMessage: true,
} as const satisfies Prisma.AttemptSelect;

/** An attempt as resolvers pass it on. */
export type AttemptRow = Prisma.AttemptGetPayload<{ select: typeof attemptColumns }>;

interface AttemptsKey {
  deliveryUuid: string;
  window: PageWindow;
}

/** Loads the attempts of a delivery that lie in the window, in its order. */
export async function loadAttempts(
  context: SchemaContext,
  deliveryUuid: string,
  window: PageWindow,
): Promise<AttemptRow[]> {
  return await attemptsLoader(context).load({ deliveryUuid, window });
}

/** Loads the newest attempt of a delivery, or null before its first. */
export async function findLastAttempt(context: SchemaContext, deliveryUuid: string): Promise<AttemptRow | null> {
  const [attempt] = await loadAttempts(context, deliveryUuid, { where: {}, orderBy: { id: 'desc' }, take: 1 });
  return attempt ?? null;
}

/** Counts the attempts of a delivery. */
export async function countAttempts(context: SchemaContext, deliveryUuid: string): Promise<number> {
  return await countLoader(context).load(deliveryUuid);
}

const attemptsLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader<AttemptsKey, AttemptRow[]>(async (keys) => await loadTogether(context, keys), { cache: false }),
);

const countLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader<string, number>(async (uuids) => await countTogether(context, uuids), { cache: false }),
);

/** One statement per distinct window; every row of a page asks for the same one. */
async function loadTogether(context: SchemaContext, keys: readonly AttemptsKey[]): Promise<AttemptRow[][]> {
  const byWindow = Map.groupBy(keys, ({ window }) => JSON.stringify(window));
  const found = new Map<AttemptsKey, AttemptRow[]>();
  const loadGroup = async (group: readonly AttemptsKey[]): Promise<void> => {
    const [{ window } = { window: null }] = group;
    if (window === null) return;
    const uuids = [...new Set(group.map((key) => key.deliveryUuid))];
    const { rows } = await context.database.pipeline.query<AttemptRow>(attemptsStatement(uuids, window));
    const byDelivery = Map.groupBy(rows, (row) => row.deliveryId);
    for (const key of group) found.set(key, byDelivery.get(key.deliveryUuid) ?? []);
  };
  await Promise.all([...byWindow.values()].map(loadGroup));
  return keys.map((key) => found.get(key) ?? []);
}

/** The lateral join reads at most `take` rows of each delivery, by the index on (delivery_id, id). */
function attemptsStatement(deliveryUuids: readonly string[], { where, orderBy, take }: PageWindow): QueryConfig {
  const { lt = null, gt = null } = where.id ?? {};
  const bounds = [lt, gt].filter((bound) => bound !== null);
  const below = lt === null ? '' : 'and a.id < $3::uuid';
  const above = gt === null ? '' : `and a.id > $${lt === null ? 3 : 4}::uuid`;
  const text = `
    select page.*
    from unnest($1::uuid[]) with ordinality as wanted(id, position)
    cross join lateral (
      select a.id, a.delivery_id as "deliveryId", a.number, a.outcome, a.trigger, a.started_at as "startedAt",
        a.duration_ms as "durationMs", a.dns_ms as "dnsMs", a.connect_ms as "connectMs", a.tls_ms as "tlsMs",
        a.first_byte_ms as "firstByteMs", a.response_status as "responseStatus", a.error_code as "errorCode",
        a.error_message as "errorMessage"
      from attempts a
      where a.delivery_id = wanted.id ${below} ${above}
      order by a.id ${orderBy.id}
      limit $2::int
    ) page
    order by wanted.position, page.id ${orderBy.id}`;
  const name = `attempts-${orderBy.id}${lt === null ? '' : '-below'}${gt === null ? '' : '-above'}`;
  return { name, text, values: [deliveryUuids, take, ...bounds] };
}

async function countTogether(context: SchemaContext, deliveryUuids: readonly string[]): Promise<number[]> {
  const groups = await context.database.prisma.attempt.groupBy({
    by: 'deliveryId',
    where: { deliveryId: { in: [...deliveryUuids] } },
    _count: true,
  });
  const counts = new Map(groups.map((group) => [group.deliveryId, group._count]));
  return deliveryUuids.map((uuid) => counts.get(uuid) ?? 0);
}
