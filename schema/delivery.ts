import { queryFromInfo } from '@pothos/plugin-prisma';
import type { Prisma } from '../prisma/generated/client/client.ts';
import { idFromUuid } from '../src/domain/ids.ts';
import { AttemptConnection, Attempt } from './attempt.ts';
import { countAttempts, findLastAttempt, loadAttempts } from './attempt-loaders.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import { loadConnection } from './connection.ts';
import { DeliveryFilter, DeliveryStatus } from './delivery-filter.ts';
import { loadDeliveries } from './delivery-pages.ts';
import { notFound } from './errors.ts';
import { findUuid } from './uuid.ts';

/** The columns of a delivery that every list reads. */
export const deliveryColumns = {
  id: true,
  projectId: true,
  eventId: true,
  webhookId: true,
  status: true,
  attemptCount: true,
  maxAttempts: true,
  roundStart: true,
  trigger: true,
  dueAt: true,
  failureReason: true,
  createdAt: true,
  finishedAt: true,
} as const satisfies Prisma.DeliverySelect;

/** A delivery as resolvers pass it on, read from the database or made of a feed item. */
export type DeliveryRow = Prisma.DeliveryGetPayload<{ select: typeof deliveryColumns }>;

/** The GraphQL type of deliveries. */
export const Delivery = builder.prismaObject('Delivery', {
  select: deliveryColumns,
  description: 'One event to one webhook, from fan-out to its end.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `dlv_…`.', resolve: (delivery) => idFromUuid('delivery', delivery.id) }),
    status: t.field({ type: DeliveryStatus, description: 'Where it stands.', resolve: (delivery) => delivery.status }),
    attemptCount: t.int({ description: 'Attempts made so far.', resolve: (delivery) => delivery.attemptCount }),
    maxAttempts: t.int({
      description: 'Attempts allowed in all; a resend adds a round.',
      resolve: (delivery) => delivery.maxAttempts,
    }),
    nextAttemptAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When the next attempt is due; null when none is planned, or it is due already.',
      resolve: (delivery) => nextAttemptAt(delivery, new Date()),
    }),
    failureReason: t.string({
      nullable: true,
      description: 'Why it ended undelivered, as stable text: EXHAUSTED, GONE, …; null unless it did.',
      resolve: (delivery) => delivery.failureReason,
    }),
    createdAt: t.field({
      type: 'DateTime',
      description: 'When the event was fanned out to the webhook.',
      resolve: (delivery) => delivery.createdAt,
    }),
    finishedAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it ended; null while it has not.',
      resolve: (delivery) => delivery.finishedAt,
    }),
    lastAttempt: t.field({
      type: Attempt,
      nullable: true,
      description: 'The newest attempt; null before the first.',
      resolve: async (delivery, _args, context) => await findLastAttempt(context, delivery.id),
    }),
    attempts: t.field({
      type: AttemptConnection,
      description: 'Its attempts, newest first.',
      args: t.arg.connectionArgs(),
      resolve: async (delivery, args, context) =>
        await loadConnection(
          args,
          async (window) => await loadAttempts(context, delivery.id, window),
          async () => await countAttempts(context, delivery.id),
        ),
    }),
  }),
});

/** Pages of deliveries. */
export const DeliveryConnection = builder.connectionObject(
  { type: Delivery, name: 'DeliveryConnection', description: 'Deliveries, newest first.' },
  { name: 'DeliveryEdge', description: 'A delivery and its place in the list.' },
);

/** When the next attempt of the delivery is to come, or null. */
export function nextAttemptAt(delivery: Pick<DeliveryRow, 'status' | 'dueAt'>, now: Date): Date | null {
  if (delivery.status === 'RETRYING') return delivery.dueAt;
  return delivery.status === 'PENDING' && delivery.dueAt !== null && delivery.dueAt > now ? delivery.dueAt : null;
}

builder.queryFields((t) => ({
  delivery: t.field({
    type: Delivery,
    nullable: true,
    needs: 'VIEW_WEBHOOKS',
    description: 'One delivery; null with a NOT_FOUND error when the project has none with this id.',
    args: { id: t.arg.id({ required: true, description: 'Its id, `dlv_…`.' }) },
    resolve: async (_root, { id }, context, info) => {
      const uuid = findUuid('delivery', id);
      const found =
        uuid === null
          ? null
          : await context.database.prisma.delivery.findFirst({
              select: queryFromInfo({ context, info, select: deliveryColumns }).select,
              where: { id: uuid, projectId: projectUuidOf(context) },
            });
      if (found === null) throw notFound('delivery', id);
      return found;
    },
  }),
  deliveries: t.field({
    type: DeliveryConnection,
    needs: 'VIEW_WEBHOOKS',
    description: 'The deliveries of the project, newest first.',
    args: {
      ...t.arg.connectionArgs(),
      filter: t.arg({ type: DeliveryFilter, description: 'Only those that all of this is true of; absent takes all.' }),
    },
    resolve: async (_root, args, context, info) =>
      await loadDeliveries({ parent: 'project', uuid: projectUuidOf(context) }, args, context, info),
  }),
}));
