import { z } from 'zod';
import type { Prisma } from '../prisma/generated/client/client.ts';
import { builder } from './builder.ts';
import {
  type Connection,
  type ConnectionArgs,
  connectionOf,
  loadConnection,
  type PageRequest,
  parsePageBy,
} from './connection.ts';
import { badInput } from './errors.ts';
import { isStorableText } from './input-text.ts';

const OrderDirection = builder.enumType('OrderDirection', {
  description: 'Which way a list goes.',
  values: {
    ASC: { description: 'From the least up: oldest first, or from A to Z.' },
    DESC: { description: 'From the greatest down: newest first, or from Z to A.' },
  },
});

const columnByField = {
  CREATED_AT: 'createdAt',
  NAME: 'name',
  STATUS_CHANGED_AT: 'statusChangedAt',
} as const;

type Field = keyof typeof columnByField;

const WebhookOrderField = builder.enumType('WebhookOrderField', {
  description: 'What webhooks can be ordered by.',
  values: {
    CREATED_AT: { description: 'When they were made.' },
    NAME: { description: 'Their names, as the database’s collation orders them.' },
    STATUS_CHANGED_AT: { description: 'Since when they stand where they stand.' },
  },
});

/** How a list of webhooks is ordered. */
export const WebhookOrder = builder.inputType('WebhookOrder', {
  description: 'An order of webhooks. Those that are alike in it follow by id, so that it is always the same.',
  fields: (t) => ({
    field: t.field({ type: WebhookOrderField, required: true, description: 'What they are ordered by.' }),
    direction: t.field({ type: OrderDirection, required: true, description: 'Which way.' }),
  }),
});

interface Order {
  field: Field;
  direction: 'ASC' | 'DESC';
}

/** What an order looks at of a webhook. */
interface OrderedRow {
  id: string;
  createdAt: Date;
  name: string;
  statusChangedAt: Date;
}

/** What a page is read with: spread it into Prisma's arguments. */
export interface OrderedWindow {
  where: Prisma.WebhookWhereInput;
  orderBy: Prisma.WebhookOrderByWithRelationInput[];
  take: number;
}

/**
 * Loads a page of webhooks in the order, by default from the newest down. Cursors carry what the order looks at and the
 * id, so that they stay good when their row is changed or deleted. Throws BAD_USER_INPUT for a cursor of another order.
 */
export async function loadWebhookConnection<Row extends OrderedRow>(
  args: ConnectionArgs & { orderBy?: Order | null | undefined },
  find: (window: OrderedWindow) => Promise<readonly Row[]>,
  count: () => Promise<number>,
): Promise<Connection<Row>> {
  const order = args.orderBy ?? { field: 'CREATED_AT', direction: 'DESC' };
  if (order.field === 'CREATED_AT' && order.direction === 'DESC') {
    // Ids begin with the time of creation, so this is every list's order and index.
    return await loadConnection(args, async (window) => await find({ ...window, orderBy: [window.orderBy] }), count);
  }
  const page = parsePageBy(args, (argument, cursor) => parseOrderedCursor(order, argument, cursor));
  return connectionOf(page, await find(windowOf(order, page)), count, (row) => orderedCursorOf(order, row));
}

/** A place in an order: the value of a row's column, an instant as ISO 8601 text, and its UUID. */
interface Place {
  value: string;
  uuid: string;
}

function windowOf(order: Order, page: PageRequest<Place>): OrderedWindow {
  const column = columnByField[order.field];
  const ascends = (order.direction === 'ASC') !== page.backward;
  const direction = ascends ? 'asc' : 'desc';
  return {
    where: {
      AND: [
        ...(page.after === null ? [] : [beyond(order, page.after, order.direction === 'ASC')]),
        ...(page.before === null ? [] : [beyond(order, page.before, order.direction === 'DESC')]),
      ],
    },
    orderBy: [{ [column]: direction }, { id: direction }],
    take: page.size + 1,
  };
}

/** The rows above the place, or below it. */
function beyond({ field }: Order, { value, uuid }: Place, above: boolean): Prisma.WebhookWhereInput {
  const column = columnByField[field];
  const side = (bound: string): { gt: string } | { lt: string } => (above ? { gt: bound } : { lt: bound });
  return { OR: [{ [column]: side(value) }, { [column]: value, id: side(uuid) }] };
}

function orderedCursorOf({ field, direction }: Order, row: OrderedRow): string {
  const value = row[columnByField[field]];
  const place = [field, direction, value instanceof Date ? value.toISOString() : value, row.id];
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

/** None of our instants is before 1970; Postgres knows no year 0. */
const instantText = z.iso.datetime().refine((text) => text >= '1970');

/** What a cursor must be in each order, by what it is by. */
const placeShapes = {
  CREATED_AT: instantText,
  NAME: z.string().max(1_000).refine(isStorableText),
  STATUS_CHANGED_AT: instantText,
} as const satisfies Record<Field, z.ZodType<string>>;

function parseOrderedCursor({ field, direction }: Order, argument: string, cursor: string): Place {
  const shape = z.tuple([z.literal(field), z.literal(direction), placeShapes[field], z.uuid()]);
  const parsed = shape.safeParse(findJson(Buffer.from(cursor, 'base64url').toString()));
  if (!parsed.success) throw badInput(argument, `a cursor of the order ${field} ${direction}`, cursor);
  const [, , value, uuid] = parsed.data;
  return { value, uuid };
}

function findJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null; // Not a cursor of ours.
  }
}
