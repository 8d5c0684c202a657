import { idFromUuid } from '../src/domain/ids.ts';
import { eventTypeColumns } from '../src/store/event-types.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import { loadConnection } from './connection.ts';

/** The GraphQL type of event types. */
export const EventType = builder.prismaObject('EventType', {
  select: eventTypeColumns,
  description: 'An event type that the project describes; events of other types are taken as well.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `ety_…`.', resolve: (eventType) => idFromUuid('eventType', eventType.id) }),
    name: t.string({ description: 'Its name, as in `config.deployed`.', resolve: (eventType) => eventType.name }),
    description: t.string({
      nullable: true,
      description: 'When such events happen; null when nobody said.',
      resolve: (eventType) => eventType.description,
    }),
    schema: t.field({
      type: 'JSON',
      nullable: true,
      description: 'The JSON Schema that the data of such events must match; null takes any data.',
      extensions: { cost: 2 }, // up to 32 KiB
      resolve: (eventType) => eventType.schema,
    }),
    createdAt: t.field({
      type: 'DateTime',
      description: 'When it was first described.',
      resolve: (eventType) => eventType.createdAt,
    }),
    updatedAt: t.field({
      type: 'DateTime',
      description: 'When that was last changed.',
      resolve: (eventType) => eventType.updatedAt,
    }),
  }),
});

/** Pages of event types. */
export const EventTypeConnection = builder.connectionObject(
  { type: EventType, name: 'EventTypeConnection', description: 'Event types, newest first.' },
  { name: 'EventTypeEdge', description: 'An event type and its place in the list.' },
);

builder.queryField('eventTypes', (t) =>
  t.field({
    type: EventTypeConnection,
    needs: 'VIEW_WEBHOOKS',
    description: 'The event types that the project describes, newest first.',
    args: t.arg.connectionArgs(),
    resolve: async (_root, args, context) => {
      const { eventType } = context.database.prisma;
      const where = { projectId: projectUuidOf(context) };
      return await loadConnection(
        args,
        async ({ where: bounds, ...window }) =>
          await eventType.findMany({ select: eventTypeColumns, ...window, where: { ...where, ...bounds } }),
        async () => await eventType.count({ where }),
      );
    },
  }),
);
