import { createContextCache } from '@pothos/core';
import DataLoader from 'dataloader';
import { idFromUuid } from '../src/domain/ids.ts';
import { quickDates } from '../src/store/quick-dates.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { Delivery } from './delivery.ts';
import { notFound } from './errors.ts';
import { Event, type EventRow } from './event.ts';
import { joinedEvents, joinedWebhooks } from './joined-rows.ts';
import { Webhook, type WebhookRow } from './webhook.ts';

// What a delivery leads to: what its page was read with, or one statement for the events and one for the webhooks of all
// deliveries that an operation shows. Nothing is remembered: a subscription's context lives as long as its socket, and what it shows must be as of now.

builder.prismaObjectFields(Delivery, (t) => ({
  event: t.field({
    type: Event,
    description: 'What is delivered.',
    resolve: (delivery, _args, context) => joinedEvents.get(delivery) ?? eventLoader(context).load(delivery.eventId),
  }),
  webhook: t.field({
    type: Webhook,
    description: 'Where it is delivered to; perhaps deleted since.',
    resolve: (delivery, _args, context) => joinedWebhooks.get(delivery) ?? loadWebhook(context, delivery.webhookId),
  }),
}));

/** Loads a webhook of the project by its UUID, deleted or not. */
export async function loadWebhook(context: SchemaContext, uuid: string): Promise<WebhookRow> {
  return await webhookLoader(context).load(uuid);
}

const eventsSql = `
select id, project_id as "projectId", type, occurred_at as "occurredAt", created_at as "createdAt",
  idempotency_key as "idempotencyKey"
from events where id = any($1::uuid[]) and project_id = $2::uuid`;

const eventLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader<string, EventRow>(
      async (uuids) => {
        const values = [[...new Set(uuids)], projectUuidOf(context)];
        const { rows } = await context.database.pipeline.query<EventRow>({
          name: 'events-by-id',
          text: eventsSql,
          values,
        });
        const byId = new Map(rows.map((row) => [row.id, row]));
        return uuids.map((uuid) => byId.get(uuid) ?? notFound('event', idFromUuid('event', uuid)));
      },
      { cache: false },
    ),
);

const webhooksSql = `
select id, project_id as "projectId", name, description, url, event_types as "eventTypes", status,
  status_reason as "statusReason", status_changed_at as "statusChangedAt", headers, signature_style as "signatureStyle",
  sign_asymmetrically as "signAsymmetrically", max_attempts as "maxAttempts", retry_schedule as "retrySchedule",
  rate_limit_per_second as "rateLimitPerSecond", created_at as "createdAt", updated_at as "updatedAt",
  deleted_at as "deletedAt"
from webhooks where id = any($1::uuid[]) and project_id = $2::uuid`;

const webhookLoader = createContextCache(
  (context: SchemaContext) =>
    new DataLoader<string, WebhookRow>(
      async (uuids) => {
        const values = [[...new Set(uuids)], projectUuidOf(context)];
        const { pipeline } = context.database;
        const { rows } = await pipeline.query<WebhookRow>({
          name: 'webhooks-by-id',
          text: webhooksSql,
          values,
          types: quickDates,
        });
        const byId = new Map(rows.map((row) => [row.id, row]));
        return uuids.map((uuid) => byId.get(uuid) ?? notFound('webhook', idFromUuid('webhook', uuid)));
      },
      { cache: false },
    ),
);
