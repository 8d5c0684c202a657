import { queryFromInfo } from '@pothos/plugin-prisma';
import type { Prisma } from '../prisma/generated/client/client.ts';
import { isEventType, matchingFilters } from '../src/domain/event-type.ts';
import { idFromUuid } from '../src/domain/ids.ts';
import { maskedWebhookHeaders } from '../src/store/webhook-headers.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import { DeliveryConnection } from './delivery.ts';
import { loadDeliveries } from './delivery-pages.ts';
import { DeliveryFilter } from './delivery-filter.ts';
import { badInput, notFound } from './errors.ts';
import { Header } from './header.ts';
import { findUuid } from './uuid.ts';
import { loadWebhookConnection, WebhookOrder } from './webhook-order.ts';

/** The columns of a webhook that every list reads. */
export const webhookColumns = {
  id: true,
  projectId: true,
  name: true,
  description: true,
  url: true,
  eventTypes: true,
  status: true,
  statusReason: true,
  statusChangedAt: true,
  headers: true,
  signatureStyle: true,
  signAsymmetrically: true,
  maxAttempts: true,
  retrySchedule: true,
  rateLimitPerSecond: true,
  createdAt: true,
  updatedAt: true,
  deletedAt: true,
} as const satisfies Prisma.WebhookSelect;

/** A webhook as resolvers pass it on. */
export type WebhookRow = Prisma.WebhookGetPayload<{ select: typeof webhookColumns }>;

/** Where a webhook stands. */
export const WebhookStatus = builder.enumType('WebhookStatus', {
  description: 'Whether a webhook gets deliveries.',
  values: {
    ACTIVE: { description: 'It gets its deliveries.' },
    FAILING: { description: 'It gets its deliveries, but recent attempts failed.' },
    PAUSED: { description: 'A person paused it; its deliveries wait.' },
    DISABLED: { description: 'It was disabled, by its receiver or for failing too long; its deliveries are skipped.' },
  },
});

/** How a webhook's requests are signed. */
export const SignatureStyle = builder.enumType('SignatureStyle', {
  description: 'How requests are signed.',
  values: {
    STANDARD_WEBHOOKS: {
      description: 'Standard Webhooks: `webhook-signature: v1,<base64>` over id, timestamp and body.',
    },
    TIMESTAMPED_HEX: { description: 'As Stripe signs: `t=<unix seconds>,v1=<hex>` over timestamp and body.' },
  },
});

const SecretAlgorithm = builder.enumType('SecretAlgorithm', {
  description: 'What a secret signs with.',
  values: {
    HMAC_SHA256: { description: 'HMAC-SHA256 with a secret that the receiver has too: `v1`.' },
    ED25519: { description: 'Ed25519 with a private key that nobody sees; receivers have the public key: `v1a`.' },
  },
});

const WebhookSecret = builder.prismaObject('WebhookSecret', {
  select: { id: true, algorithm: true, hint: true, createdAt: true, expiresAt: true },
  description: 'A secret that signs a webhook’s requests; its text is shown once, when it is made, or never (ED25519).',
  fields: (t) => ({
    id: t.id({ description: 'The id, `sec_…`.', resolve: (secret) => idFromUuid('webhookSecret', secret.id) }),
    algorithm: t.field({
      type: SecretAlgorithm,
      description: 'What it signs with.',
      resolve: (secret) => secret.algorithm,
    }),
    hint: t.string({
      description: 'Its last characters, to recognise it by; of an ED25519 key those of its public key.',
      resolve: (secret) => secret.hint,
    }),
    createdAt: t.field({ type: 'DateTime', description: 'When it was made.', resolve: (secret) => secret.createdAt }),
    expiresAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it stops signing; null while it is the current one.',
      resolve: (secret) => secret.expiresAt,
    }),
  }),
});

/** The GraphQL type of webhooks. */
export const Webhook = builder.prismaObject('Webhook', {
  select: webhookColumns,
  description: 'A URL that events are sent to, with its secrets, filter, headers and limits.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `wh_…`.', resolve: (webhook) => idFromUuid('webhook', webhook.id) }),
    name: t.string({ description: 'What people call it.', resolve: (webhook) => webhook.name }),
    description: t.string({
      nullable: true,
      description: 'What it is for; null when nobody said.',
      resolve: (webhook) => webhook.description,
    }),
    url: t.string({ description: 'Where requests go.', resolve: (webhook) => webhook.url }),
    eventTypes: t.stringList({
      description: 'Filters of the events it gets: `*`, `config.*` or an exact type.',
      resolve: (webhook) => webhook.eventTypes,
    }),
    status: t.field({ type: WebhookStatus, description: 'Where it stands.', resolve: (webhook) => webhook.status }),
    statusReason: t.string({
      nullable: true,
      description: 'Why it stands there, as stable text: PAUSED_BY_USER, GONE, …; null when all is well.',
      resolve: (webhook) => webhook.statusReason,
    }),
    statusChangedAt: t.field({
      type: 'DateTime',
      description: 'Since when it stands there.',
      resolve: (webhook) => webhook.statusChangedAt,
    }),
    createdAt: t.field({ type: 'DateTime', description: 'When it was made.', resolve: (webhook) => webhook.createdAt }),
    updatedAt: t.field({
      type: 'DateTime',
      description: 'When it was last changed.',
      resolve: (webhook) => webhook.updatedAt,
    }),
    deletedAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it was deleted; null while it is not. Only its deliveries still lead to a deleted webhook.',
      resolve: (webhook) => webhook.deletedAt,
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
      resolve: async (webhook, args, context, info) =>
        await loadDeliveries({ parent: 'webhook', uuid: webhook.id }, args, context, info),
    }),
  }),
});

// How it is sent to.
builder.prismaObjectFields(Webhook, (t) => ({
  headers: t.field({
    type: [Header],
    description: 'Headers that its requests carry besides our own. Values that are credentials are masked.',
    resolve: (webhook, _args, context) => maskedWebhookHeaders(context.secretBox, webhook),
  }),
  signatureStyle: t.field({
    type: SignatureStyle,
    description: 'How its requests are signed.',
    resolve: (webhook) => webhook.signatureStyle,
  }),
  signAsymmetrically: t.boolean({
    description: 'Whether its requests are signed with an ed25519 key (`v1a`) as well.',
    resolve: (webhook) => webhook.signAsymmetrically,
  }),
  publicKeys: t.stringList({
    description:
      'The public keys, `whpk_…`, that its `v1a` signatures verify with now, newest first; several while a rotation overlaps, none unless it signs asymmetrically.',
    select: () => ({
      secrets: { select: { publicKey: true }, where: { ...signsNow(), algorithm: 'ED25519' }, orderBy: newestFirst },
    }),
    resolve: ({ secrets }) => secrets.flatMap(({ publicKey }) => publicKey ?? []),
  }),
  maxAttempts: t.int({
    nullable: true,
    description: 'Attempts in all for each delivery; null takes the deployment’s default.',
    resolve: (webhook) => webhook.maxAttempts,
  }),
  retrySchedule: t.intList({
    nullable: true,
    description: 'Waits in seconds after each failed attempt; null takes the deployment’s default.',
    resolve: (webhook) => (webhook.retrySchedule.length === 0 ? null : webhook.retrySchedule),
  }),
  rateLimitPerSecond: t.int({
    nullable: true,
    description: 'Most requests per second; null is no limit.',
    resolve: (webhook) => webhook.rateLimitPerSecond,
  }),
  secrets: t.relation('secrets', {
    type: WebhookSecret,
    description: 'The secrets that sign its requests now, newest first; several while a rotation overlaps.',
    query: () => ({ where: signsNow(), orderBy: newestFirst }),
  }),
}));

const newestFirst = { id: 'desc' } as const;

/** The secrets that have not expired and are in use: an ed25519 key rests while its webhook does not sign asymmetrically. */
function signsNow(): Prisma.WebhookSecretWhereInput {
  return {
    AND: [
      { OR: [{ expiresAt: null }, { expiresAt: { gt: new Date() } }] },
      { OR: [{ algorithm: 'HMAC_SHA256' }, { webhook: { signAsymmetrically: true } }] },
    ],
  };
}

/** Pages of webhooks. */
export const WebhookConnection = builder.connectionObject(
  { type: Webhook, name: 'WebhookConnection', description: 'Webhooks, in the order asked for.' },
  { name: 'WebhookEdge', description: 'A webhook and its place in the list.' },
);

const WebhookFilter = builder.inputType('WebhookFilter', {
  description: 'Narrows a list of webhooks. Everything given must be true; an absent or null entry narrows nothing.',
  fields: (t) => ({
    statuses: t.field({ type: [WebhookStatus], description: 'In one of these statuses.' }),
    eventType: t.string({ description: 'That get events of this type.' }),
  }),
});

builder.queryField('webhook', (t) =>
  t.field({
    type: Webhook,
    nullable: true,
    needs: 'VIEW_WEBHOOKS',
    description: 'One webhook that is not deleted; null with a NOT_FOUND error when the project has none with this id.',
    args: { id: t.arg.id({ required: true, description: 'Its id, `wh_…`.' }) },
    resolve: async (_root, { id }, context, info) => {
      const uuid = findUuid('webhook', id);
      const found =
        uuid === null
          ? null
          : await context.database.prisma.webhook.findFirst({
              select: queryFromInfo({ context, info, select: webhookColumns }).select,
              where: { id: uuid, projectId: projectUuidOf(context), deletedAt: null },
            });
      if (found === null) throw notFound('webhook', id);
      return found;
    },
  }),
);

builder.queryField('webhooks', (t) =>
  t.field({
    type: WebhookConnection,
    needs: 'VIEW_WEBHOOKS',
    description: 'The webhooks of the project, newest first unless ordered otherwise, deleted ones left out.',
    args: {
      ...t.arg.connectionArgs(),
      filter: t.arg({ type: WebhookFilter, description: 'Only those that all of this is true of; absent takes all.' }),
      orderBy: t.arg({ type: WebhookOrder, description: 'Their order; newest first unless said.' }),
    },
    resolve: async (_root, args, context, info) => {
      const { webhook } = context.database.prisma;
      const { select } = queryFromInfo({
        context,
        info,
        typeName: 'Webhook',
        paths: [['nodes'], ['edges', 'node']],
        select: webhookColumns,
      });
      const where: Prisma.WebhookWhereInput = {
        projectId: projectUuidOf(context),
        deletedAt: null,
        ...(args.filter?.statuses && { status: { in: [...new Set(args.filter.statuses)] } }),
        ...(args.filter?.eventType && { eventTypes: { hasSome: filtersOf(args.filter.eventType) } }),
      };
      return await loadWebhookConnection(
        args,
        async ({ where: bounds, ...window }) =>
          await webhook.findMany({ select, ...window, where: { AND: [where, bounds] } }),
        async () => await webhook.count({ where }),
      );
    },
  }),
);

function filtersOf(eventType: string): string[] {
  if (!isEventType(eventType)) throw badInput('filter.eventType', 'an event type like config.deployed', eventType);
  return matchingFilters(eventType);
}
