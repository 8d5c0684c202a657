import { createContextCache } from '@pothos/core';
import { queryFromInfo } from '@pothos/plugin-prisma';
import DataLoader from 'dataloader';
import { z } from 'zod';
import type { Prisma } from '../prisma/generated/client/client.ts';
import { idFromUuid } from '../src/domain/ids.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import { loadConnection } from './connection.ts';
import type { SchemaContext } from './context.ts';
import { DeliveryConnection } from './delivery.ts';
import { loadDeliveries } from './delivery-pages.ts';
import { createdWhere, DeliveryFilter, eventTypeWhere, parseEventTypeFilters } from './delivery-filter.ts';
import { badInput, notFound } from './errors.ts';
import { idempotencyKeyRequirement, isIdempotencyKey } from './input-text.ts';
import { findUuid } from './uuid.ts';

/** The columns of an event that every list reads; the body is read only when somebody asks for it or for the data in it. */
export const eventColumns = {
  id: true,
  projectId: true,
  type: true,
  occurredAt: true,
  createdAt: true,
  idempotencyKey: true,
} as const satisfies Prisma.EventSelect;

/** An event as resolvers pass it on. */
export type EventRow = Prisma.EventGetPayload<{ select: typeof eventColumns }>;

/** A body is up to 256 KiB, so that what one operation may cost keeps its answer below some 64 MiB of them. */
const bodyCost = 20;

/** The GraphQL type of events. */
export const Event = builder.prismaObject('Event', {
  select: eventColumns,
  description: 'Something that happened; immutable, stored once however many webhooks get it.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({
      description: 'The id, `evt_…`; receivers see it as `webhook-id`.',
      resolve: (event) => idFromUuid('event', event.id),
    }),
    type: t.string({ description: 'Its type, as in `config.deployed`.', resolve: (event) => event.type }),
    data: t.field({
      type: 'JSON',
      nullable: true,
      description: 'What the product said about it; null when it said null.',
      extensions: { cost: bodyCost },
      resolve: async (event, _args, context) => dataOf(await bodyLoader(context).load(event.id)),
    }),
    body: t.string({
      description: 'The exact text that is signed and sent, the same for every attempt.',
      extensions: { cost: bodyCost },
      resolve: async (event, _args, context) => await bodyLoader(context).load(event.id),
    }),
    occurredAt: t.field({
      type: 'DateTime',
      description: 'When it happened, as the product says.',
      resolve: (event) => event.occurredAt,
    }),
    createdAt: t.field({ type: 'DateTime', description: 'When it was stored.', resolve: (event) => event.createdAt }),
    idempotencyKey: t.string({
      nullable: true,
      description: 'The key that keeps it from being stored twice; null without one.',
      resolve: (event) => event.idempotencyKey,
    }),
    deliveries: t.field({
      type: DeliveryConnection,
      description: 'Its deliveries, newest first.',
      args: {
        ...t.arg.connectionArgs(),
        filter: t.arg({
          type: DeliveryFilter,
          description: 'Only those that all of this is true of; absent takes all.',
        }),
      },
      resolve: async (event, args, context, info) =>
        await loadDeliveries({ parent: 'event', uuid: event.id }, args, context, info),
    }),
  }),
});

/** Pages of events. */
export const EventConnection = builder.connectionObject(
  { type: Event, name: 'EventConnection', description: 'Events, newest first.' },
  { name: 'EventEdge', description: 'An event and its place in the list.' },
);

const EventFilter = builder.inputType('EventFilter', {
  description: 'Narrows a list of events. Everything given must be true; an absent or null entry narrows nothing.',
  fields: (t) => ({
    types: t.stringList({ description: 'Of a type that one of these filters takes: `*`, `config.*` or exact.' }),
    idempotencyKey: t.string({ description: 'Stored under this idempotency key.' }),
    since: t.field({ type: 'DateTime', description: 'Stored then or later.' }),
    until: t.field({ type: 'DateTime', description: 'Stored before then.' }),
  }),
});

builder.queryField('event', (t) =>
  t.field({
    type: Event,
    nullable: true,
    needs: 'VIEW_WEBHOOKS',
    description: 'One event; null with a NOT_FOUND error when the project has none with this id.',
    args: { id: t.arg.id({ required: true, description: 'Its id, `evt_…`.' }) },
    resolve: async (_root, { id }, context, info) => {
      const uuid = findUuid('event', id);
      const found =
        uuid === null
          ? null
          : await context.database.prisma.event.findFirst({
              select: queryFromInfo({ context, info, select: eventColumns }).select,
              where: { id: uuid, projectId: projectUuidOf(context) },
            });
      if (found === null) throw notFound('event', id);
      return found;
    },
  }),
);

builder.queryField('events', (t) =>
  t.field({
    type: EventConnection,
    needs: 'VIEW_WEBHOOKS',
    description: 'The events of the project, newest first.',
    args: {
      ...t.arg.connectionArgs(),
      filter: t.arg({ type: EventFilter, description: 'Only those that all of this is true of; absent takes all.' }),
    },
    resolve: async (_root, args, context, info) => {
      const { event } = context.database.prisma;
      const { select } = queryFromInfo({
        context,
        info,
        typeName: 'Event',
        paths: [['nodes'], ['edges', 'node']],
        select: eventColumns,
      });
      const where = { projectId: projectUuidOf(context), ...parseFilter(args.filter ?? {}) };
      return await loadConnection(
        args,
        async ({ where: bounds, ...window }) =>
          await event.findMany({ select, ...window, where: { AND: [where, bounds] } }),
        async () => await event.count({ where }),
      );
    },
  }),
);

/** What the filter lets through. Throws BAD_USER_INPUT for what is no event-type filter, and for what cannot be a key. */
function parseFilter(filter: typeof EventFilter.$inferInput): Prisma.EventWhereInput {
  const { types = null, idempotencyKey = null, since, until } = filter;
  if (idempotencyKey !== null && !isIdempotencyKey(idempotencyKey)) {
    throw badInput('filter.idempotencyKey', idempotencyKeyRequirement, idempotencyKey);
  }
  return {
    ...(types === null ? {} : eventTypeWhere(parseEventTypeFilters('filter.types', types))),
    ...(idempotencyKey === null ? {} : { idempotencyKey }),
    ...createdWhere(since, until),
  };
}

/** Bodies as text, since parsing and printing them again could change a byte; one statement for a whole page. */
const bodyLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader<string, string>(
      async (uuids) => {
        const rows = await context.database.prisma.$queryRaw<{ id: string; body: string }[]>`
          select id, body::text as body from events where id = any(${[...new Set(uuids)]}::uuid[])`;
        const bodies = new Map(rows.map((row) => [row.id, row.body]));
        return uuids.map((uuid) => bodies.get(uuid) ?? notFound('event', idFromUuid('event', uuid)));
      },
      { cache: false },
    ),
);

const bodyShape = z.object({ data: z.unknown() });

function dataOf(body: string): unknown {
  return bodyShape.parse(JSON.parse(body)).data;
}
