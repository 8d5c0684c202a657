import { createApiKey } from '../../src/store/api-keys.ts';
import { newUuid } from '../../src/store/new-id.ts';
import { createWebhook } from '../../src/store/webhooks.ts';
import { idFromUuid, kindOfId, parseId, uuidOf } from '../../src/domain/ids.ts';
import type { IdKind, ProjectId } from '../../src/domain/ids.ts';
import { permissions } from '../../src/domain/permissions.ts';
import type { FeedEntry } from '../../src/feed/feed.ts';
import { cursorOf } from '../../schema/connection.ts';
import { attemptColumns } from '../../schema/attempt-loaders.ts';
import { deliveryColumns } from '../../schema/delivery.ts';
import { snapshotOf } from '../../schema/feed-rows.ts';
import { plainWebhook } from './store-fixture.ts';
import type { SchemaFixture } from './schema-fixture.ts';
import { testActor } from './test-actor.ts';

/** One of everything that a project can have, by id, every text of which holds the marker. */
export interface Belongings {
  /** Lower-case letters and digits, found nowhere else. */
  marker: string;
  project: string;
  apiKey: string;
  webhook: string;
  event: string;
  /** FAILED, with one attempt. */
  delivery: string;
  /** RETRYING. */
  openDelivery: string;
  attempt: string;
  eventType: string;
  /** RUNNING. */
  recovery: string;
  auditEntry: string;
  /** The type of `event`, which `eventType` describes. */
  eventTypeName: string;
  /** A place in the lists of the project. */
  pageCursor: string;
  /** A place in its feed that one item follows. */
  feedCursor: string;
}

let number = 0;

/** Gives the project one more of everything, and its name the marker. */
export async function addBelongings(
  fixture: SchemaFixture,
  projectId: ProjectId,
  markerStem: string,
): Promise<Belongings> {
  number += 1;
  const marker = `${markerStem}${number}`;
  const { prisma } = fixture.db;
  const own = { projectId: uuidOf(projectId) };
  await prisma.project.update({ where: { id: own.projectId }, data: { name: `Project ${marker}` } });
  const apiKey = await addApiKey(fixture, projectId, marker);
  const webhook = await addWebhook(fixture, projectId, marker);
  const type = `${marker}.deployed`;
  const [delivery, openDelivery] = [await addDelivery('FAILED'), await addDelivery('RETRYING')];
  const attempt = await addAttempt(fixture, delivery.id, marker);
  const eventType = await prisma.eventType.create({
    data: { ...own, id: newUuid(), name: type, description: marker, schema: { description: marker } },
  });
  const recovery = await prisma.recovery.create({
    data: {
      ...own,
      id: newUuid(),
      filter: { eventTypes: [`${marker}.*`] },
      since: new Date(0),
      until: new Date(),
      matchedCount: 1,
    },
  });
  const auditEntry = await prisma.auditEntry.create({
    data: {
      ...own,
      id: newUuid(),
      actorKind: 'API_KEY',
      apiKeyId: apiKey,
      action: 'createWebhook',
      targetId: idFromUuid('webhook', webhook),
      requestId: marker,
    },
  });
  return {
    marker,
    project: projectId,
    apiKey: idFromUuid('apiKey', apiKey),
    webhook: idFromUuid('webhook', webhook),
    event: idFromUuid('event', delivery.eventId),
    delivery: idFromUuid('delivery', delivery.id),
    openDelivery: idFromUuid('delivery', openDelivery.id),
    attempt: idFromUuid('attempt', attempt),
    eventType: idFromUuid('eventType', eventType.id),
    recovery: idFromUuid('recovery', recovery.id),
    auditEntry: idFromUuid('auditEntry', auditEntry.id),
    eventTypeName: type,
    pageCursor: cursorOf(delivery.id),
    feedCursor: await publishTwo(fixture, projectId, attempt),
  };

  async function addDelivery(status: 'FAILED' | 'RETRYING'): Promise<{ id: string; eventId: string }> {
    const body = { id: marker, type, projectId, data: { note: marker } };
    const event = await prisma.event.create({
      data: { ...own, id: newUuid(), type, body, occurredAt: new Date(), idempotencyKey: `${marker}-${status}` },
    });
    const id = newUuid();
    const failed = status === 'FAILED' ? { failureReason: marker, finishedAt: new Date(), attemptCount: 1 } : {};
    const data = { ...own, id, eventId: event.id, webhookId: webhook, status, maxAttempts: 6, ...failed };
    return await prisma.delivery.create({ data });
  }
}

async function addApiKey({ db }: SchemaFixture, projectId: ProjectId, marker: string): Promise<string> {
  const { apiKey } = await createApiKey(db, projectId, { name: marker, permissions, expiresAt: null }, testActor);
  await db.prisma.apiKey.update({ where: { id: apiKey.id }, data: { keyPrefix: marker } });
  return apiKey.id;
}

/** It takes every event, so that one of another project would reach it if it could. */
async function addWebhook({ db, secretBox }: SchemaFixture, projectId: ProjectId, marker: string): Promise<string> {
  const { webhook } = await createWebhook(db, secretBox, projectId, {
    ...plainWebhook,
    name: marker,
    description: marker,
    url: `https://${marker}.example.com/`,
    eventTypes: ['*', `${marker}.*`],
    headers: [{ name: `x-${marker}`, value: marker }],
    signAsymmetrically: true,
    actor: testActor,
  });
  await db.prisma.webhook.update({ where: { id: webhook.id }, data: { statusReason: marker } });
  await db.prisma.webhookSecret.updateMany({ where: { webhookId: webhook.id }, data: { hint: marker } });
  const asymmetric = { webhookId: webhook.id, algorithm: 'ED25519' as const };
  await db.prisma.webhookSecret.updateMany({ where: asymmetric, data: { publicKey: `whpk_${marker}` } });
  return webhook.id;
}

function attemptTexts(marker: string) {
  return {
    id: newUuid(),
    number: 1,
    outcome: 'FAILED' as const,
    trigger: 'AUTOMATIC' as const,
    startedAt: new Date(),
    durationMs: 1,
    responseStatus: 500,
    responseHeaders: [{ name: `x-${marker}`, value: marker }],
    responseBody: marker,
    errorCode: marker,
    errorMessage: marker,
  };
}

/** Stores an attempt at the delivery and gives its id. */
export async function addAttempt({ db }: SchemaFixture, deliveryUuid: string, marker: string): Promise<string> {
  const { id } = await db.prisma.attempt.create({ data: { ...attemptTexts(marker), deliveryId: deliveryUuid } });
  return id;
}

/** What the feed says when an attempt was made. */
export async function attemptedEntry(fixture: SchemaFixture, attemptUuid: string): Promise<FeedEntry> {
  const { delivery: row, ...attempt } = await fixture.db.prisma.attempt.findUniqueOrThrow({
    select: { ...attemptColumns, delivery: { select: { ...deliveryColumns, event: { select: { type: true } } } } },
    where: { id: attemptUuid },
  });
  const delivery = snapshotOf(row);
  const at = attempt.startedAt.toISOString();
  return {
    change: 'ATTEMPTED',
    at,
    webhookId: delivery.webhookId,
    eventType: row.event.type,
    delivery,
    attempt: { ...attempt, id: idFromUuid('attempt', attempt.id), startedAt: at, errorCode: null },
  };
}

async function publishTwo(fixture: SchemaFixture, projectId: ProjectId, attemptUuid: string): Promise<string> {
  const entry = await attemptedEntry(fixture, attemptUuid);
  const subscription = await fixture.feed.subscribe(projectId);
  await fixture.feed.publish(projectId, [entry, entry]);
  const { value } = await subscription.next();
  await subscription.return?.();
  if (value === undefined) throw new Error('the feed gave nothing');
  return value.cursor;
}

/** What gives away that something is the project's: its texts, and its ids in every form. */
export function tracesOf(belongings: Belongings): string[] {
  const ids = Object.values(belongings).filter(
    (value) => kindOfId(value) !== null && value !== belongings.eventTypeName,
  );
  const uuids = ids.map((id) => uuidOf(parseId(kindOfId(id) as IdKind, id)));
  return [belongings.marker, ...ids, ...uuids, ...uuids.map(cursorOf)];
}

interface TextColumn {
  table: string;
  column: string;
}

/** Columns that hold text or JSON, but for what is encrypted, an id, or one of a few words. */
const unmarkedColumns = new Set([
  'webhook_secrets.ciphertext',
  'api_keys.permissions',
  'audit_entries.action',
  'audit_entries.target_id',
  'events.trace_parent',
]);

/** The columns of free text that do not hold the marker anywhere. */
export async function columnsWithout({ db }: SchemaFixture, marker: string): Promise<string[]> {
  const { rows } = await db.pipeline.query<TextColumn>(
    `select table_name as "table", column_name as "column" from information_schema.columns
      where table_schema = 'public' and table_name <> '_prisma_migrations'
        and (data_type in ('text', 'character varying', 'json', 'jsonb') or udt_name in ('_text', '_varchar'))
      order by 1, 2`,
  );
  const columns = rows.filter(({ table, column }) => !unmarkedColumns.has(`${table}.${column}`));
  const without: string[] = [];
  for (const { table, column } of columns) {
    const found = await db.pipeline.query(`select 1 from "${table}" where "${column}"::text like $1 limit 1`, [
      `%${marker}%`,
    ]);
    if (found.rows.length === 0) without.push(`${table}.${column}`);
  }
  return without;
}

/** Every row of the project, as text. */
export async function rowsOf({ db }: SchemaFixture, projectId: string): Promise<string> {
  const uuid = uuidOf(parseId('project', projectId));
  const { rows: tables } = await db.pipeline.query<{ name: string }>(
    `select table_name as name from information_schema.columns
      where table_schema = 'public' and column_name = 'project_id' order by 1`,
  );
  const selections = [
    'select * from projects where id = $1',
    'select s.* from webhook_secrets s join webhooks w on w.id = s.webhook_id where w.project_id = $1',
    'select a.* from attempts a join deliveries d on d.id = a.delivery_id where d.project_id = $1',
    ...tables.map(({ name }) => `select * from "${name}" where project_id = $1`),
  ];
  const dumps: string[] = [];
  for (const selection of selections) {
    const { rows } = await db.pipeline.query(`select json_agg(r order by r.id)::text as dump from (${selection}) r`, [
      uuid,
    ]);
    dumps.push(`${selection}: ${(rows[0] as { dump: string } | undefined)?.dump}`);
  }
  return dumps.join('\n');
}
