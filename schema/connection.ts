import { badInput } from './errors.ts';

/** Most nodes of one page. */
export const pageNodesMax = 100;

/** Nodes of a page whose size is not given. */
export const pageNodesDefault = 20;

/** What every connection field takes. */
export interface ConnectionArgs {
  first?: number | null | undefined;
  after?: string | null | undefined;
  last?: number | null | undefined;
  before?: string | null | undefined;
}

/**
 * One page to read, newest first: rows with an id below `after` and above `before`. A backward page is read oldest
 * first, from the end of the list.
 */
export interface PageRequest<Cursor = string> {
  size: number;
  backward: boolean;
  /** UUIDs, or what another order is by; the rows they were taken from may be gone. */
  after: Cursor | null;
  before: Cursor | null;
}

/** Reads a cursor. Throws BAD_USER_INPUT naming the argument when it is none of the list. */
export type ParseCursor<Cursor> = (argument: string, cursor: string) => Cursor;

/** What a list query is given: spread it into Prisma's arguments. One row more than the page says whether it goes on. */
export interface PageWindow {
  where: { id?: { lt?: string; gt?: string } };
  orderBy: { id: 'asc' | 'desc' };
  take: number;
}

/** A page of rows as the relay types resolve it. */
export interface Connection<Row> {
  edges: { cursor: string; node: Row }[];
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null };
  totalCount: () => Promise<number | null>;
}

/**
 * Loads a page by keyset on the UUIDv7 id, newest first, so that inserts and deletions never shift it.
 * Throws BAD_USER_INPUT for sizes and cursors that are none.
 */
export async function loadConnection<Row extends { id: string }>(
  args: ConnectionArgs,
  find: (window: PageWindow) => Promise<readonly Row[]>,
  count: () => Promise<number | null>,
): Promise<Connection<Row>> {
  const page = parsePage(args);
  return connectionOf(page, await find(windowOf(page)), count);
}

/** Reads a connection's arguments. Throws BAD_USER_INPUT naming the argument and its value. */
export function parsePage(args: ConnectionArgs): PageRequest {
  return parsePageBy(args, parseCursor);
}

/** Reads the arguments of a connection whose order has cursors of its own. Throws as `parsePage` does. */
export function parsePageBy<Cursor>(args: ConnectionArgs, parse: ParseCursor<Cursor>): PageRequest<Cursor> {
  const { first = null, last = null } = args;
  if (first !== null && last !== null) {
    throw badInput('last', 'absent when first is given', last);
  }
  const cursorIn = (argument: 'after' | 'before'): Cursor | null => {
    const cursor = args[argument] ?? null;
    return cursor === null ? null : parse(argument, cursor);
  };
  return {
    size: parseSize('first', first) ?? parseSize('last', last) ?? pageNodesDefault,
    backward: last !== null,
    after: cursorIn('after'),
    before: cursorIn('before'),
  };
}

/** The rows that a page needs. */
export function windowOf(page: PageRequest): PageWindow {
  const bounds = {
    ...(page.after === null ? {} : { lt: page.after }),
    ...(page.before === null ? {} : { gt: page.before }),
  };
  return {
    where: page.after === null && page.before === null ? {} : { id: bounds },
    orderBy: { id: page.backward ? 'asc' : 'desc' },
    take: page.size + 1,
  };
}

/** The page that the rows of its window make. */
export function connectionOf<Row extends { id: string }>(
  page: PageRequest<unknown>,
  rows: readonly Row[],
  count: () => Promise<number | null>,
  cursorOfRow: (row: Row) => string = ({ id }) => cursorOf(id),
): Connection<Row> {
  const more = rows.length > page.size;
  const kept = rows.slice(0, page.size);
  const edges = (page.backward ? kept.toReversed() : kept).map((node) => ({ cursor: cursorOfRow(node), node }));
  return {
    edges,
    pageInfo: {
      hasNextPage: page.backward ? page.before !== null : more,
      hasPreviousPage: page.backward ? more : page.after !== null,
      startCursor: edges[0]?.cursor ?? null,
      endCursor: edges.at(-1)?.cursor ?? null,
    },
    totalCount: count,
  };
}

/** The opaque place of a row: the base64url of its UUID's 16 bytes. */
export function cursorOf(uuid: string): string {
  return Buffer.from(uuid.replaceAll('-', ''), 'hex').toString('base64url');
}

function parseCursor(argument: string, cursor: string): string {
  const bytes = Buffer.from(cursor, 'base64url');
  if (bytes.length !== 16 || bytes.toString('base64url') !== cursor) {
    throw badInput(argument, 'a cursor of this list', cursor);
  }
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function parseSize(argument: string, size: number | null): number | null {
  if (size === null || (size >= 0 && size <= pageNodesMax)) return size;
  throw badInput(argument, `from 0 to ${pageNodesMax}`, size);
}
