import type { Permission } from '../../src/domain/permissions.ts';
import type { Belongings } from './tenant-belongings.ts';
import type { Arguments } from './schema-documents.ts';

// How each field is called that has to be tried with another project's ids and with too few permissions. The rest is
// made from the schema by test/integration/tenant-matrix.test.ts: the document, the ids to replace, what to select.
//
// A new field of Query, Mutation or Subscription gets an entry here: the permission it needs, and its arguments made from
// what a project has. Every id that it takes must be among them, in inputs of inputs too. A foreign id is then expected to
// be a NOT_FOUND error of a query or subscription, and a NOT_FOUND user error of a mutation, unless `foreign` says else.
// A field of another type that takes ids gets one too, `within` the query that leads to it. A field that cannot be
// selected without arguments says which in `argumentsOf`. A new kind of id is added to tenant-belongings.ts.

/** What a foreign id leads to: an error; a user error at the id's path; null in its place in a list; an empty list. */
export type ForeignOutcome = 'error' | 'user error' | 'null item' | 'empty list';

export interface MatrixEntry {
  needs: Permission;
  /** Calls that succeed for the project that has these; `[{}]` without arguments. */
  calls: (own: Belongings) => readonly Arguments[];
  foreign?: ForeignOutcome;
  /** The root field of Query that gives the object, for fields of other types. */
  within?: (own: Belongings) => { field: string; args: Arguments };
}

/** Arguments, as text, of fields that are selected on the way and need some, as in `'Webhook.stats': '(days: 1)'`. */
export const argumentsOf: Readonly<Record<string, string>> = {};

function view(calls: MatrixEntry['calls'], rest: Partial<MatrixEntry> = {}): MatrixEntry {
  return { needs: 'VIEW_WEBHOOKS', calls, ...rest };
}

/** A mutation that takes `input`. */
function change(needs: Permission, input: (own: Belongings) => Arguments): MatrixEntry {
  return { needs, calls: (own) => [{ input: input(own) }] };
}

const page = { first: 2 };
const plain: MatrixEntry['calls'] = () => [{}];
const nodeIds = ({ project, apiKey, webhook, event, delivery, attempt }: Belongings): string[] => [
  project,
  apiKey,
  webhook,
  event,
  delivery,
  attempt,
];
const deliveryFilter = ({ webhook, event }: Belongings) => ({ webhookIds: [webhook], eventIds: [event] });

/** By field, as in `Query.webhook`. */
export const tenantMatrix: Readonly<Record<string, MatrixEntry>> = {
  'Query.project': view(plain),
  'Query.node': view((own) => nodeIds(own).map((id) => ({ id }))),
  'Query.nodes': view((own) => nodeIds(own).map((id) => ({ ids: [id] })), { foreign: 'null item' }),
  'Query.webhook': view(({ webhook }) => [{ id: webhook }]),
  'Query.webhooks': view(() => [page]),
  'Query.event': view(({ event }) => [{ id: event }]),
  'Query.events': view(() => [page]),
  'Query.delivery': view(({ delivery }) => [{ id: delivery }]),
  'Query.deliveries': view((own) => [page, { ...page, filter: deliveryFilter(own) }]),
  'Query.apiKeys': view(() => [page]),
  'Webhook.deliveries': view((own) => [{ ...page, filter: deliveryFilter(own) }], {
    within: ({ webhook }) => ({ field: 'webhook', args: { id: webhook } }),
  }),
  'Event.deliveries': view((own) => [{ ...page, filter: deliveryFilter(own) }], {
    within: ({ event }) => ({ field: 'event', args: { id: event } }),
  }),
  'Mutation.createWebhook': change('MANAGE_WEBHOOKS', ({ marker }) => ({
    name: marker,
    url: `https://${marker}.example.com/`,
  })),
  'Mutation.updateWebhook': change('MANAGE_WEBHOOKS', ({ webhook, marker }) => ({ id: webhook, name: `${marker} 2` })),
  'Mutation.deleteWebhook': change('MANAGE_WEBHOOKS', ({ webhook }) => ({ id: webhook })),
  'Mutation.pauseWebhook': change('MANAGE_WEBHOOKS', ({ webhook }) => ({ id: webhook })),
  'Mutation.resumeWebhook': change('MANAGE_WEBHOOKS', ({ webhook }) => ({ id: webhook })),
  'Mutation.rotateWebhookSecret': change('MANAGE_WEBHOOKS', ({ webhook }) => ({ id: webhook })),
  'Mutation.testWebhook': change('MANAGE_WEBHOOKS', ({ webhook, eventTypeName }) => ({
    id: webhook,
    eventType: eventTypeName,
  })),
  'Mutation.resendDelivery': change('MANAGE_WEBHOOKS', ({ delivery }) => ({ id: delivery })),
  'Mutation.cancelDelivery': change('MANAGE_WEBHOOKS', ({ openDelivery }) => ({ id: openDelivery })),
  'Mutation.createApiKey': change('MANAGE_WEBHOOKS', ({ marker }) => ({
    name: marker,
    permissions: ['MANAGE_WEBHOOKS'],
  })),
  'Mutation.emitEvent': change('EMIT_EVENTS', ({ eventTypeName, marker }) => ({
    type: eventTypeName,
    data: { note: marker },
  })),
  'Subscription.deliveryFeed': view(({ webhook, feedCursor }) => [
    { after: feedCursor },
    { after: feedCursor, filter: { webhookIds: [webhook] } },
  ]),
  'Subscription.deliveryUpdated': view(({ delivery }) => [{ id: delivery }]),
};
