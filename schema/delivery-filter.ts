import { createContextCache } from '@pothos/core';
import DataLoader from 'dataloader';
import type { Prisma } from '../prisma/generated/client/client.ts';
import { isEventTypeFilter } from '../src/domain/event-type.ts';
import type { IdKind } from '../src/domain/ids.ts';
import type { DeliveryStatus as Status } from '../src/domain/delivery.ts';
import type { CreatedRange, DeliveryConditions } from '../src/store/delivery-pages.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { badInput, notFound } from './errors.ts';
import { findUuid, firstUuidAt } from './uuid.ts';

/** Most entries of each list in a filter. */
export const filterEntriesMax = 100;

/** Clocks of the database and of the processes that make ids may differ by this much, in milliseconds. */
const idClockSlackMs = 60_000;

/** Where a delivery stands. */
export const DeliveryStatus = builder.enumType('DeliveryStatus', {
  description: 'Where a delivery stands; it is always in exactly one of these.',
  values: {
    PENDING: { description: 'Due, or waiting for its first attempt.' },
    DELIVERING: { description: 'An attempt is being made.' },
    DELIVERED: { description: 'The receiver took it.' },
    RETRYING: { description: 'An attempt failed; the next one is planned.' },
    FAILED: { description: 'No attempt is left, or it was stopped for good.' },
    SKIPPED: { description: 'The webhook was disabled when the event came.' },
    CANCELLED: { description: 'A person stopped it: by cancelling it, or by deleting its webhook.' },
  },
});

/** What a list of deliveries can be narrowed by. */
export interface DeliveryFilterInput {
  webhookIds?: readonly string[] | null | undefined;
  statuses?: readonly Status[] | null | undefined;
  eventTypes?: readonly string[] | null | undefined;
  eventIds?: readonly string[] | null | undefined;
  since?: Date | null | undefined;
  until?: Date | null | undefined;
  responseStatus?: number | null | undefined;
}

/** The GraphQL input of it. */
export const DeliveryFilter = builder.inputType('DeliveryFilter', {
  description: 'Narrows a list of deliveries. Everything given must be true; an absent or null entry narrows nothing.',
  fields: (t) => ({
    webhookIds: t.idList({ description: 'To one of these webhooks; at most 100.' }),
    statuses: t.field({ type: [DeliveryStatus], description: 'In one of these statuses.' }),
    eventTypes: t.stringList({
      description: 'Of an event type that one of these filters takes: `*`, `config.*` or exact.',
    }),
    eventIds: t.idList({ description: 'Of one of these events; at most 100.' }),
    since: t.field({ type: 'DateTime', description: 'Created then or later.' }),
    until: t.field({ type: 'DateTime', description: 'Created before then.' }),
    responseStatus: t.int({
      description:
        'Whose last attempt was answered with this HTTP status, from 100 to 599. A status that is rare among many ' +
        'deliveries is best looked for together with `since`.',
    }),
  }),
});

/**
 * The conditions that a filter means. Throws NOT_FOUND for a webhook or event that the project does not have, and
 * BAD_USER_INPUT for what is no event-type filter, no HTTP status, or too long.
 */
export async function deliveryConditions(
  context: SchemaContext,
  filter: DeliveryFilterInput,
): Promise<DeliveryConditions> {
  const { webhookIds = null, eventIds = null, statuses = null, eventTypes = null, responseStatus = null } = filter;
  return {
    webhookUuids: await ownedUuids(context, 'webhook', webhookIds),
    eventUuids: await ownedUuids(context, 'event', eventIds),
    statuses: statuses && [...new Set(statuses)],
    eventTypes: eventTypes && eventTypeCondition(parseEventTypeFilters('filter.eventTypes', eventTypes)),
    created: createdWhere(filter.since, filter.until),
    responseStatus: parseResponseStatus(responseStatus),
  };
}

function parseResponseStatus(status: number | null): number | null {
  if (status === null || (status >= 100 && status <= 599)) return status;
  throw badInput('filter.responseStatus', 'an HTTP status from 100 to 599', status);
}

function eventTypeCondition(filters: readonly string[]): DeliveryConditions['eventTypes'] {
  if (filters.includes('*')) return null;
  const [exact, families] = [
    filters.filter((filter) => !filter.endsWith('.*')),
    filters.filter((filter) => filter.endsWith('.*')),
  ];
  return { exact, patterns: families.map((filter) => `${likePrefix(filter)}%`) };
}

/** What `config.*` begins with, as LIKE takes it: `_` stands for any character there. */
function likePrefix(filter: string): string {
  return filter.slice(0, -1).replaceAll('_', String.raw`\_`);
}

/** The events whose type one of the filters takes. */
export function eventTypeWhere(filters: readonly string[]): Prisma.EventWhereInput {
  if (filters.includes('*')) return {};
  return {
    OR: filters.map((filter) => ({
      // Prisma makes LIKE of it and leaves `_` as it is.
      type: filter.endsWith('.*') ? { startsWith: likePrefix(filter) } : filter,
    })),
  };
}

/** Gives the filters. Throws BAD_USER_INPUT naming the argument when one is not a filter, or there are too many. */
export function parseEventTypeFilters(argument: string, filters: readonly string[]): readonly string[] {
  requireShort(argument, filters);
  const bad = filters.find((filter) => !isEventTypeFilter(filter));
  if (bad !== undefined) throw badInput(argument, 'event types, or filters like `*` and `config.*`', bad);
  return filters;
}

/**
 * Rows created from `since` on and before `until`. Nothing is indexed by its time of creation, but ids begin with it:
 * the bounds on the id, a little wider, let Postgres find the range by the index.
 */
export function createdWhere(since: Date | null | undefined, until: Date | null | undefined): CreatedRange {
  if (!since && !until) return {};
  return {
    createdAt: { ...(since && { gte: since }), ...(until && { lt: until }) },
    id: {
      ...(since && { gte: firstUuidAt(new Date(since.getTime() - idClockSlackMs)) }),
      ...(until && { lt: firstUuidAt(new Date(until.getTime() + idClockSlackMs)) }),
    },
  };
}

const ownedNames = { webhook: 'webhook', event: 'event', apiKey: 'API key' } as const satisfies Partial<
  Record<IdKind, string>
>;

/** The UUIDs of things of a kind that the caller's project has; null for no list. Throws NOT_FOUND for any other. */
export async function ownedUuids(
  context: SchemaContext,
  kind: keyof typeof ownedNames,
  ids: readonly string[] | null,
  argument = `filter.${kind}Ids`,
): Promise<string[] | null> {
  if (ids === null) return null;
  requireShort(argument, ids);
  const loader = ownedLoader(context)[kind];
  return await Promise.all(
    [...new Set(ids)].map(async (id) => {
      const uuid = findUuid(kind, id);
      if (uuid === null || !(await loader.load(uuid))) throw notFound(ownedNames[kind], id);
      return uuid;
    }),
  );
}

/** Whether the project has what a UUID names: one statement for all that is asked at once, by however many fields. */
const ownedLoader = createContextCache((context: SchemaContext) => {
  const { webhook, event, apiKey } = context.database.prisma;
  const queryOf = (uuids: readonly string[]) => ({
    where: { id: { in: [...new Set(uuids)] }, projectId: projectUuidOf(context) },
    select: { id: true },
  });
  return {
    webhook: ownershipLoader(async (uuids) => await webhook.findMany(queryOf(uuids))),
    event: ownershipLoader(async (uuids) => await event.findMany(queryOf(uuids))),
    apiKey: ownershipLoader(async (uuids) => await apiKey.findMany(queryOf(uuids))),
  };
});

function ownershipLoader(
  find: (uuids: readonly string[]) => Promise<readonly { id: string }[]>,
): DataLoader<string, boolean> {
  return new DataLoader<string, boolean>(
    async (uuids) => {
      const owned = new Set((await find(uuids)).map(({ id }) => id));
      return uuids.map((uuid) => owned.has(uuid));
    },
    { cache: false },
  );
}

function requireShort(argument: string, list: readonly unknown[]): void {
  if (list.length > filterEntriesMax) throw badInput(argument, `at most ${filterEntriesMax} long`, list.length);
}
