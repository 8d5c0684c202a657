import { createContextCache } from '@pothos/core';
import DataLoader from 'dataloader';
import type { GraphQLResolveInfo } from 'graphql';
import {
  countDeliveries,
  type DeliveryConditions,
  type DeliveryLists,
  type DeliveryParent,
  type DeliveryWindow,
  type JoinedDelivery,
  listDeliveries,
  type ListedDelivery,
} from '../src/store/delivery-pages.ts';
import { ReadLimitError } from '../src/store/limited-read.ts';
import { tooManyReads } from './too-many-reads.ts';
import { callerOf } from './caller.ts';
import { type Connection, type ConnectionArgs, loadConnection, type PageWindow } from './connection.ts';
import type { SchemaContext } from './context.ts';
import { deliveryConditions, type DeliveryFilterInput } from './delivery-filter.ts';
import { apiError } from './errors.ts';
import { joinedEvents, joinedWebhooks } from './joined-rows.ts';
import { isSelected } from './selected-fields.ts';

// Pages of deliveries, of a project, of webhooks or of events: one statement for all lists of an operation that ask for
// the same, however many parents they belong to. Nothing is remembered: what a subscription shows must be as of now.

/** What a field that lists deliveries was asked. */
export interface DeliveryListArgs extends ConnectionArgs {
  filter?: DeliveryFilterInput | null | undefined;
}

/** What the deliveries of a list belong to. */
export interface DeliveryScope {
  parent: DeliveryParent;
  uuid: string;
}

/** Loads a page of the project's deliveries within the scope. */
export async function loadDeliveries(
  scope: DeliveryScope,
  args: DeliveryListArgs,
  context: SchemaContext,
  info: GraphQLResolveInfo,
): Promise<Connection<ListedDelivery>> {
  const conditions = await deliveryConditions(context, args.filter ?? {});
  const joined = { withEvents: isSelected(info, pathsTo('event')), withWebhooks: isSelected(info, pathsTo('webhook')) };
  return await loadConnection(
    args,
    async (window) => await pageLoader(context).load({ scope, conditions, window: { ...window, ...joined } }),
    async () => await countLoader(context).load({ scope, conditions, window: null }),
  );
}

function pathsTo(field: string): string[][] {
  return [
    ['nodes', field],
    ['edges', 'node', field],
  ];
}

type JoinedPageWindow = PageWindow & Pick<DeliveryWindow, 'withEvents' | 'withWebhooks'>;

interface ListKey<Window> {
  scope: DeliveryScope;
  conditions: DeliveryConditions;
  window: Window;
}

const pageLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader(
      async (keys: readonly ListKey<JoinedPageWindow>[]) =>
        await loadTogether(keys, async (lists, { where: { id = {} }, orderBy, take: count, ...joined }) => {
          const bounds = { below: id.lt ?? null, above: id.gt ?? null };
          const window = { ...bounds, newestFirst: orderBy.id === 'desc', count, ...joined };
          const { projectId } = callerOf(context);
          const pages = await listDeliveries(context.database, projectId, lists, window).catch(tooMany);
          return pages.map((page) => page.map(joinedRow));
        }),
      { cache: false },
    ),
);

const countLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader(
      async (keys: readonly ListKey<null>[]) =>
        await loadTogether(keys, async (lists) => await countOrUnknown(context, lists)),
      { cache: false },
    ),
);

/** Gives for each key what `load` gives for its parent; lists that ask for the same are loaded together. */
async function loadTogether<Window, Value>(
  keys: readonly ListKey<Window>[],
  load: (lists: DeliveryLists, window: Window) => Promise<Value[]>,
): Promise<Value[]> {
  const groups = Map.groupBy(keys, ({ scope: { parent }, conditions, window }) =>
    JSON.stringify([parent, conditions, window]),
  );
  const found = new Map<ListKey<Window>, Value>();
  const loadGroup = async (group: readonly [ListKey<Window>, ...ListKey<Window>[]]): Promise<void> => {
    const [{ scope, conditions, window }] = group;
    const parentUuids = [...new Set(group.map((key) => key.scope.uuid))];
    const values = await load({ parent: scope.parent, parentUuids, conditions }, window);
    const byParent = new Map(parentUuids.map((uuid, index) => [uuid, values[index]]));
    for (const key of group) {
      const value = byParent.get(key.scope.uuid);
      if (value !== undefined) found.set(key, value);
    }
  };
  await Promise.all(
    [...groups.values()].map(async ([first, ...others]) => first && (await loadGroup([first, ...others]))),
  );
  return keys.map((key) => {
    const value = found.get(key);
    if (value === undefined) throw new Error(`nothing was loaded for ${key.scope.parent} ${key.scope.uuid}`);
    return value;
  });
}

/** The delivery's row, which its event and webhook are found by. */
function joinedRow({ delivery, event, webhook }: JoinedDelivery): ListedDelivery {
  if (event !== null) joinedEvents.set(delivery, event);
  if (webhook !== null) joinedWebhooks.set(delivery, webhook);
  return delivery;
}

/** A count that takes too long is not known. */
async function countOrUnknown(context: SchemaContext, lists: DeliveryLists): Promise<(number | null)[]> {
  try {
    return await countDeliveries(context.database, callerOf(context).projectId, lists);
  } catch (error) {
    if (!(error instanceof ReadLimitError)) throw error;
    return lists.parentUuids.map(() => null);
  }
}

/** Throws what the caller can do about a page whose filter passed over too many deliveries; any other error as it is. */
function tooMany(error: unknown): never {
  if (!(error instanceof ReadLimitError)) throw error;
  if (error.reason === 'too-many-at-once') throw tooManyReads();
  const advice = 'Narrow it with filter.since and filter.until, or by webhook.';
  throw apiError('QUERY_TOO_COMPLEX', `Too few deliveries match this filter to be found in time. ${advice}`);
}
