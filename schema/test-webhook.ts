import { isEventType } from '../src/domain/event-type.ts';
import { findId, type WebhookId } from '../src/domain/ids.ts';
import { emitTest } from '../src/store/emit-test.ts';
import { FeedError, type FeedItem, type FeedSubscription } from '../src/feed/feed.ts';
import { z } from 'zod';
import { Attempt } from './attempt.ts';
import type { AttemptRow } from './attempt-loaders.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf, projectUuidOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { Delivery, type DeliveryRow } from './delivery.ts';
import { emitAndHint } from './emit-and-hint.ts';
import { createdEntry } from '../src/feed/feed-entries.ts';
import { attemptRowOf, deliveryRowOf } from './feed-rows.ts';
import { subscribeToFeed } from './live-items.ts';
import { checkInput, notFoundError, rule, UserError, userError, type UserErrorShape } from './user-error.ts';
import { findUuid } from './uuid.ts';

/** How much longer than an attempt may take the answer is waited for, in milliseconds. */
const answerGraceMs = 5_000;

interface TestWebhookResult {
  delivery: DeliveryRow | null;
  attempt: AttemptRow | null;
  userErrors: UserErrorShape[];
}

const TestWebhookInput = builder.inputType('TestWebhookInput', {
  description: 'Which webhook to test.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The webhook, `wh_…`, in whatever status.' }),
    eventType: t.string({
      defaultValue: 'posthorn.test',
      description: 'The type of the event that is sent, whatever the webhook filters.',
    }),
  }),
});

const TestWebhookPayload = builder.objectRef<TestWebhookResult>('TestWebhookPayload').implement({
  description: 'How the receiver answered a test event.',
  fields: (t) => ({
    delivery: t.field({
      type: Delivery,
      nullable: true,
      description: 'The delivery of the test event; null when none was sent.',
      resolve: (result) => result.delivery,
    }),
    attempt: t.field({
      type: Attempt,
      nullable: true,
      description: 'The one attempt; null when it has not ended yet.',
      resolve: (result) => result.attempt,
    }),
    userErrors: t.expose('userErrors', {
      type: [UserError],
      description: 'What was wrong, or has not happened in time.',
    }),
  }),
});

const testInput = z.object({
  eventType: z
    .custom<string | null | undefined>()
    .transform((eventType) => eventType ?? 'posthorn.test')
    .pipe(rule<string>(isEventType, 'INVALID_EVENT_TYPE', 'dotted lower-case words like config.deployed')),
});

builder.mutationField('testWebhook', (t) =>
  t.field({
    type: TestWebhookPayload,
    needs: 'MANAGE_WEBHOOKS',
    extensions: { cost: 50 },
    description: 'Sends a test event to one webhook now, once, and waits for the answer.',
    args: { input: t.arg({ type: TestWebhookInput, required: true, description: 'Which webhook.' }) },
    resolve: async (_root, { input: { id, ...input } }, context) => {
      const checked = checkInput(testInput, input);
      if (checked.kind === 'refused') return { delivery: null, attempt: null, userErrors: checked.userErrors };
      const webhookId = findId('webhook', id);
      if (webhookId === null || !(await hasWebhook(context, id))) {
        return { delivery: null, attempt: null, userErrors: [notFoundError('webhook', id)] };
      }
      return await sendTest(context, webhookId, checked.input.eventType);
    },
  }),
);

async function sendTest(context: SchemaContext, webhookId: WebhookId, eventType: string): Promise<TestWebhookResult> {
  const { projectId } = callerOf(context);
  const limitMs = context.settings.attemptTimeoutMs + answerGraceMs;
  // Subscribed before the emit, so that no answer is too quick to be seen.
  const subscription = await subscribeToFeed(context, { signal: AbortSignal.timeout(limitMs) });
  try {
    const now = new Date();
    const event = {
      projectId,
      type: eventType,
      data: { test: true, webhookId },
      idempotencyKey: null,
      occurredAt: now,
      deliverAt: null,
      testWebhookId: webhookId,
    };
    const [result] = await emitAndHint(auditedEmits(context), [event], { now, urgency: 'urgent' });
    const [created] = result?.kind === 'stored' ? result.deliveries : [];
    if (result?.kind !== 'stored' || created === undefined) {
      return { delivery: null, attempt: null, userErrors: [notFoundError('webhook', webhookId)] };
    }
    const item = await findAttempted(subscription, created.id);
    if (item !== null) return { ...rowsOf(context, item), userErrors: [] };
    const { delivery } = rowsOf(context, { cursor: '', entry: createdEntry(result.event, created, now) });
    const message = `The receiver has not answered within ${limitMs / 1000} s; the delivery goes on by itself.`;
    return { delivery, attempt: null, userErrors: [userError(['id'], 'TEST_PENDING', message)] };
  } finally {
    await subscription.return?.();
  }
}

/** A context whose emits are tests that a person asked for: each with its audit entry. */
function auditedEmits(context: SchemaContext): SchemaContext {
  const { database, settings } = context;
  return { ...context, emitEvent: async (input) => await emitTest(database, settings, input, actorOf(context)) };
}

async function findAttempted(subscription: FeedSubscription, deliveryId: string): Promise<FeedItem | null> {
  try {
    for await (const item of subscription) {
      if (item.entry.delivery?.id === deliveryId && item.entry.attempt !== null) return item;
    }
  } catch (error) {
    if (!(error instanceof FeedError)) throw error; // a feed that lost its place may have lost the answer: it is in the list
  }
  return null;
}

function rowsOf(
  context: SchemaContext,
  { entry }: FeedItem,
): { delivery: DeliveryRow | null; attempt: AttemptRow | null } {
  const { delivery, attempt } = entry;
  if (delivery === null) return { delivery: null, attempt: null };
  return {
    delivery: deliveryRowOf(callerOf(context).projectId, delivery),
    attempt: attempt && attemptRowOf(delivery.id, attempt),
  };
}

async function hasWebhook(context: SchemaContext, id: string): Promise<boolean> {
  const uuid = findUuid('webhook', id);
  if (uuid === null) return false;
  const where = { id: uuid, projectId: projectUuidOf(context), deletedAt: null };
  return (await context.database.prisma.webhook.count({ where })) > 0;
}
