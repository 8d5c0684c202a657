import type { Permission } from '../../src/domain/permissions.ts';
import type { Belongings } from './tenant-belongings.ts';
import type { Arguments } from './schema-documents.ts';

// How each field is called that has to be tried with another project's ids and with too few permissions. The rest is
// made from the schema by test/integration/tenant-matrix.test.ts: the document, the ids to replace, what to select.
//
// A new field of Query, Mutation or Subscription gets an entry here: the permission it needs, and its arguments made from
// what a project has. Every id that it takes must be among them, in inputs of inputs too. A foreign id is then expected to
// be a NOT_FOUND error of a query or subscription, and a NOT_FOUND user error of a mutation, unless `foreign` says else.
// What is one's own is expected to be in the answer by its marker, unless `showsNothing` says why it cannot be.
// A field of another type that takes ids gets one too, `within` the query that leads to it. A field that cannot be
// selected without arguments says which in `argumentsOf`. A new kind of id is added to tenant-belongings.ts.

/**
 * What a foreign id leads to: an error; a user error at the id's path; null in its place in a list; a list of what one's
 * own ids beside it give, empty without any.
 */
export type ForeignOutcome = 'error' | 'user error' | 'null item' | 'empty list';

export interface MatrixEntry {
  needs: Permission | 'ADMINISTRATOR';
  /** Calls that succeed for the project that has these; `[{}]` without arguments. */
  calls: (own: Belongings) => readonly Arguments[];
  /** What a foreign id leads to where it is not NOT_FOUND: everywhere, or by the dotted path of the id. */
  foreign?: ForeignOutcome | Readonly<Record<string, ForeignOutcome>>;
  /** Why the answer holds no marker, when it can hold none by nature. */
  showsNothing?: string;
  /** The root field of Query that gives the object, for fields of other types. */
  within?: (own: Belongings) => { field: string; args: Arguments };
}

/** Arguments, as text, of fields that are selected on the way and need some, as in `'Webhook.stats': '(days: 1)'`. */
export const argumentsOf: Readonly<Record<string, string>> = {};

function view(calls: MatrixEntry['calls'], rest: Partial<MatrixEntry> = {}): MatrixEntry {
  return { needs: 'VIEW_WEBHOOKS', calls, ...rest };
}

/** A mutation that takes `input`. */
function change(
  needs: MatrixEntry['needs'],
  input: (own: Belongings) => Arguments,
  rest: Partial<MatrixEntry> = {},
): MatrixEntry {
  return { needs, calls: (own) => [{ input: input(own) }], ...rest };
}

const page = { first: 2 };
const counts = { showsNothing: 'counts only' };
const plain: MatrixEntry['calls'] = () => [{}];
const nodeIds = (own: Belongings): string[] => [
  own.project,
  own.apiKey,
  own.webhook,
  own.event,
  own.delivery,
  own.attempt,
  own.eventType,
  own.recovery,
  own.auditEntry,
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
  'Query.auditEntries': view(
    ({ webhook, apiKey }) => [
      page,
      { ...page, filter: { targetIds: [webhook] } },
      { ...page, filter: { apiKeyIds: [apiKey] } },
    ],
    // What was changed may have been removed long ago.
    { foreign: { 'filter.targetIds': 'empty list' } },
  ),
  'Query.eventTypes': view(() => [page]),
  'Query.recovery': view(({ recovery }) => [{ id: recovery }]),
  'Query.recoveries': view(() => [page]),
  'Query.deliveryStats': view(({ webhook }) => [{ webhookIds: [webhook] }], counts),
  'Query.feedCursor': view(plain, { showsNothing: 'a place only' }),
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
  'Mutation.revokeApiKey': change('MANAGE_WEBHOOKS', ({ apiKey }) => ({ id: apiKey })),
  'Mutation.createAccessToken': change('VIEW_WEBHOOKS', () => ({ permissions: ['VIEW_WEBHOOKS'] }), {
    showsNothing: 'tokens have no names',
  }),
  'Mutation.replayEvent': change('MANAGE_WEBHOOKS', ({ event, webhook }) => ({ eventId: event, webhookId: webhook })),
  'Mutation.recoverDeliveries': change('MANAGE_WEBHOOKS', ({ webhook, marker }) => ({
    since: new Date(Date.now() - 3_600_000).toISOString(),
    filter: { webhookIds: [webhook], eventTypes: [`${marker}.*`] },
    dryRun: true,
  })),
  'Mutation.cancelRecovery': change('MANAGE_WEBHOOKS', ({ recovery }) => ({ id: recovery })),
  'Mutation.upsertEventType': change('MANAGE_WEBHOOKS', ({ eventTypeName, marker }) => ({
    name: eventTypeName,
    description: marker,
  })),
  'Mutation.deleteEventType': change('MANAGE_WEBHOOKS', ({ eventType }) => ({ id: eventType })),
  'Mutation.createProject': change('ADMINISTRATOR', ({ marker }) => ({ name: marker })),
  'Mutation.retryStuckDeliveries': change('ADMINISTRATOR', () => ({ limit: 10 }), counts),
  'Mutation.cleanupDeliveries': change('ADMINISTRATOR', () => ({ olderThanDays: 3_650 }), counts),
  'Mutation.emitEvents': change('EMIT_EVENTS', ({ eventTypeName, marker }) => ({
    events: [{ type: eventTypeName, data: { note: marker } }],
  })),
  'Mutation.emitEvent': change('EMIT_EVENTS', ({ eventTypeName, marker }) => ({
    type: eventTypeName,
    data: { note: marker },
  })),
  'Subscription.deliveryFeed': view(({ webhook, feedCursor }) => [
    { after: feedCursor },
    { after: feedCursor, filter: { webhookIds: [webhook] } },
  ]),
  'Subscription.deliveryStatsTicked': view(({ webhook }) => [{ webhookIds: [webhook], everySeconds: 1 }], counts),
  'Subscription.deliveryUpdated': view(({ delivery }) => [{ id: delivery }]),
};
