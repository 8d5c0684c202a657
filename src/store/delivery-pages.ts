import type { Delivery } from '../../prisma/generated/client/client.ts';
import type { DeliveryStatus } from '../domain/delivery.ts';
import { type ProjectId, uuidOf } from '../domain/ids.ts';
import type { Database } from './database.ts';
import {
  eventColumns,
  eventIn,
  type JoinedEvent,
  type JoinedWebhook,
  type ListedEvent,
  type ListedWebhook,
  webhookColumns,
  webhookIn,
} from './joined-rows.ts';
import { readMany } from './limited-read.ts';
import { quickDates } from './quick-dates.ts';

/** A delivery as lists read it. */
export type ListedDelivery = Omit<Delivery, 'held' | 'claimedAt'>;

/** A delivery, and what was asked for beside it; an event may be gone. */
export interface JoinedDelivery {
  delivery: ListedDelivery;
  event: ListedEvent | null;
  webhook: ListedWebhook | null;
}

/** What lists of deliveries belong to. */
export type DeliveryParent = 'project' | 'webhook' | 'event';

/** Rows by when they were made: by their column, and for the index by the ids of about that time. */
export interface CreatedRange {
  createdAt?: { gte?: Date; lt?: Date };
  id?: { gte?: string; lt?: string };
}

/** What all deliveries of a list have in common; null and empty narrow nothing. UUIDs are of the project. */
export interface DeliveryConditions {
  webhookUuids: readonly string[] | null;
  eventUuids: readonly string[] | null;
  statuses: readonly DeliveryStatus[] | null;
  /** Types of events, with LIKE patterns for families of them; null takes any. */
  eventTypes: { exact: readonly string[]; patterns: readonly string[] } | null;
  created: CreatedRange;
  /** The HTTP status that the last attempt was answered with. */
  responseStatus: number | null;
}

/** Which part of each list: ids between these, from the newest down or from the oldest up. */
export interface DeliveryWindow {
  below: string | null;
  above: string | null;
  newestFirst: boolean;
  count: number;
  /** Whether to read their events and webhooks with them. */
  withEvents: boolean;
  withWebhooks: boolean;
}

/** Lists of deliveries that differ in nothing but what they belong to. */
export interface DeliveryLists {
  parent: DeliveryParent;
  /** UUIDs, each once; of a project only the caller's own. */
  parentUuids: readonly string[];
  conditions: DeliveryConditions;
}

const columns = `d.id, d.project_id as "projectId", d.event_id as "eventId", d.webhook_id as "webhookId", d.status,
  d.attempt_count as "attemptCount", d.max_attempts as "maxAttempts", d.round_start as "roundStart", d.trigger,
  d.due_at as "dueAt", d.failure_reason as "failureReason", d.created_at as "createdAt", d.finished_at as "finishedAt"`;

/**
 * Reads the same window of each list with one statement, and gives each list's rows in the window's order. Never more than
 * `count` rows of a parent are read unless conditions pass rows over. Throws a ReadLimitError when these are too many.
 */
export async function listDeliveries(
  database: Database,
  projectId: ProjectId,
  lists: DeliveryLists,
  window: DeliveryWindow,
): Promise<JoinedDelivery[][]> {
  const { keyColumn, keys, shared, rest } = drivenBy(lists);
  const { values, bind } = createBinder();
  const order = window.newestFirst ? 'desc' : 'asc';
  const below = window.below === null ? '' : `and d.id < ${bind(window.below)}::uuid`;
  const above = window.above === null ? '' : `and d.id > ${bind(window.above)}::uuid`;
  const wanted = bind(keys);
  const count = bind(window.count);
  const text = `
    select page.*, wanted.position::int ${joinedColumns(window)}
    from unnest(${wanted}::uuid[]) with ordinality as wanted(id, position)
    cross join lateral (
      select ${columns} from deliveries d
      where d.${keyColumn} = wanted.id and d.project_id = ${bind(uuidOf(projectId))}::uuid ${below} ${above}
        ${conditionsSql(rest, bind)}
      order by d.id ${order} limit ${count}::int
    ) page
    ${window.withEvents ? 'left join events e on e.id = page."eventId"' : ''}
    ${window.withWebhooks ? 'left join webhooks w on w.id = page."webhookId"' : ''}
    ${shared ? `order by page.id ${order} limit ${count}::int` : `order by wanted.position, page.id ${order}`}`;
  const rows = isPlain(lists.conditions)
    ? (await database.pipeline.query<PageRow>({ name: planName(lists, window), text, values, types: quickDates })).rows
    : await readMany<PageRow>(database, projectId, { text, values, types: quickDates });
  return byParent(lists, shared, rows);
}

/** Counts each list with one statement that reads all of them. Throws a ReadLimitError when they are too long. */
export async function countDeliveries(
  database: Database,
  projectId: ProjectId,
  lists: DeliveryLists,
): Promise<number[]> {
  const { keyColumn, keys, shared, rest } = drivenBy(lists);
  const { values, bind } = createBinder();
  const text = `
    select (select count(*) from deliveries d
      where d.${keyColumn} = wanted.id and d.project_id = ${bind(uuidOf(projectId))}::uuid ${conditionsSql(rest, bind)})::int as count
    from unnest(${bind(keys)}::uuid[]) with ordinality as wanted(id, position) order by wanted.position`;
  const rows = await readMany<{ count: number }>(database, projectId, { text, values });
  return shared ? [rows.reduce((sum, { count }) => sum + count, 0)] : rows.map(({ count }) => count);
}

type PageRow = ListedDelivery & JoinedEvent & JoinedWebhook & { position: number };

function joinedColumns({ withEvents, withWebhooks }: DeliveryWindow): string {
  return `${withEvents ? `, ${eventColumns}` : ''} ${withWebhooks ? `, ${webhookColumns}` : ''}`;
}

function joinedOf(row: PageRow): JoinedDelivery {
  return { delivery: row, event: eventIn(row), webhook: webhookIn(row) };
}

/** What the rows are found by: an index begins with it, so that each key costs no more than its own page. */
interface Drive {
  keyColumn: 'project_id' | 'webhook_id' | 'event_id';
  keys: readonly string[];
  /** Whether all keys stand for the one parent. */
  shared: boolean;
  rest: DeliveryConditions;
}

/** A project's deliveries of some webhooks or events are found by these: read by its own index they could be far between. */
function drivenBy({ parent, parentUuids, conditions }: DeliveryLists): Drive {
  const { webhookUuids, eventUuids } = conditions;
  if (parent === 'webhook' || parent === 'event') {
    return { keyColumn: `${parent}_id`, keys: parentUuids, shared: false, rest: conditions };
  }
  if (eventUuids !== null) {
    return {
      keyColumn: 'event_id',
      keys: [...new Set(eventUuids)],
      shared: true,
      rest: { ...conditions, eventUuids: null },
    };
  }
  if (webhookUuids !== null) {
    const rest = { ...conditions, webhookUuids: null };
    return { keyColumn: 'webhook_id', keys: [...new Set(webhookUuids)], shared: true, rest };
  }
  return { keyColumn: 'project_id', keys: parentUuids, shared: true, rest: conditions };
}

function byParent({ parentUuids }: DeliveryLists, shared: boolean, rows: readonly PageRow[]): JoinedDelivery[][] {
  if (shared) return [rows.map(joinedOf)];
  const pages: JoinedDelivery[][] = parentUuids.map(() => []);
  for (const row of rows) pages[row.position - 1]?.push(joinedOf(row));
  return pages;
}

/** Without conditions there is one good plan, which sessions may keep; with them it depends on the values. */
function isPlain({
  webhookUuids,
  eventUuids,
  statuses,
  eventTypes,
  created,
  responseStatus,
}: DeliveryConditions): boolean {
  const narrowing = [webhookUuids, eventUuids, statuses, eventTypes, created.createdAt ?? null, responseStatus];
  return narrowing.every((condition) => condition === null);
}

function planName({ parent }: DeliveryLists, window: DeliveryWindow): string {
  const bounds = `${window.below === null ? '' : '-below'}${window.above === null ? '' : '-above'}`;
  const joined = `${window.withEvents ? '-with-events' : ''}${window.withWebhooks ? '-with-webhooks' : ''}`;
  return `deliveries-of-${parent}${bounds}${window.newestFirst ? '' : '-oldest-first'}${joined}`;
}

type Bind = (value: unknown) => string;

/** Collects the values of a statement; `bind` gives each its place in the text. */
function createBinder(): { values: unknown[]; bind: Bind } {
  const values: unknown[] = [];
  return {
    values,
    bind: (value) => {
      values.push(value);
      return `$${values.length}`;
    },
  };
}

function conditionsSql({ created, ...conditions }: DeliveryConditions, bind: Bind): string {
  const { webhookUuids, eventUuids, statuses, eventTypes, responseStatus } = conditions;
  const parts = [
    webhookUuids && `d.webhook_id = any(${bind(webhookUuids)}::uuid[])`,
    eventUuids && `d.event_id = any(${bind(eventUuids)}::uuid[])`,
    statuses && `d.status = any(${bind(statuses)}::delivery_status[])`,
    // Scalar subqueries, which the planner never makes joins of: it looks up one row for each delivery that it comes by.
    eventTypes &&
      `(select e.type = any(${bind(eventTypes.exact)}::text[]) or e.type like any(${bind(eventTypes.patterns)}::text[])
        from events e where e.id = d.event_id)`,
    responseStatus !== null &&
      `(select a.response_status from attempts a where a.delivery_id = d.id order by a.id desc limit 1) = ${bind(responseStatus)}::int`,
    ...createdSql(created, bind),
  ];
  return parts
    .filter(Boolean)
    .map((part) => `and ${part}`)
    .join(' ');
}

function createdSql({ createdAt = {}, id = {} }: CreatedRange, bind: Bind): (string | undefined)[] {
  return [
    createdAt.gte && `d.created_at >= ${bind(createdAt.gte)}::timestamptz`,
    createdAt.lt && `d.created_at < ${bind(createdAt.lt)}::timestamptz`,
    id.gte && `d.id >= ${bind(id.gte)}::uuid`,
    id.lt && `d.id < ${bind(id.lt)}::uuid`,
  ];
}
