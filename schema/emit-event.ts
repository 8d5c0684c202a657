import { z } from 'zod';
import { isEventType, isReservedEventType } from '../src/domain/event-type.ts';
import { uuidOf } from '../src/domain/ids.ts';
import type { EmitInput, EmitResult, StoredEvent } from '../src/store/emit-event.ts';
import { createdEntry } from '../src/feed/feed-entries.ts';
import { announce } from './announce.ts';
import { builder } from './builder.ts';
import { callerOf } from './caller.ts';
import type { Caller, SchemaContext } from './context.ts';
import { shown } from './errors.ts';
import { Event, type EventRow } from './event.ts';
import { idempotencyKeyRequirement, isIdempotencyKey } from './input-text.ts';
import { jsonProblem } from './scalars.ts';
import { checkInput, rule, UserError, userError, type UserErrorShape } from './user-error.ts';

/** Largest body of an event, in bytes. */
export const bodyBytesMax = 256 * 1024;

/** What id, type, timestamp, project and punctuation add to the data, at most, in bytes. */
const envelopeBytesMax = 512;

/** The longest that a delivery can be put off, 30 days. */
const deliverAtDelayMsMax = 30 * 24 * 3600 * 1000;

interface EmitEventResult {
  event: EventRow | null;
  deliveryCount: number | null;
  duplicate: boolean | null;
  userErrors: UserErrorShape[];
}

const EmitEventInput = builder.inputType('EmitEventInput', {
  description: 'The event to emit.',
  fields: (t) => ({
    type: t.string({
      required: true,
      description: 'Its type: dotted lower-case words, as in `config.deployed`; not `posthorn.…`, which is reserved.',
    }),
    data: t.field({
      type: 'JSON',
      description:
        'What there is to say about it; 256 KiB with the envelope. Null unless said. Numbers are IEEE doubles.',
    }),
    idempotencyKey: t.string({
      description:
        'Makes repeating the call harmless: 1 to 255 characters, unique to this event within the project. Absent, each call stores an event.',
    }),
    occurredAt: t.field({ type: 'DateTime', description: 'When it happened; now unless said.' }),
    deliverAt: t.field({
      type: 'DateTime',
      description: 'Not to be delivered before then, at most 30 days ahead; at once when absent.',
    }),
  }),
});

const EmitEventPayload = builder.objectRef<EmitEventResult>('EmitEventPayload').implement({
  description: 'What became of the event.',
  fields: (t) => ({
    event: t.field({
      type: Event,
      nullable: true,
      description: 'The event as it is stored, the earlier one for a duplicate; null when none was stored.',
      resolve: (result) => result.event,
    }),
    deliveryCount: t.exposeInt('deliveryCount', {
      nullable: true,
      description: 'How many webhooks it goes to, disabled ones included; null when none was stored.',
    }),
    duplicate: t.exposeBoolean('duplicate', {
      nullable: true,
      description: 'Whether the idempotency key was used before for the same event; null when none was stored.',
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

builder.mutationField('emitEvent', (t) =>
  t.field({
    type: EmitEventPayload,
    needs: 'EMIT_EVENTS',
    description: 'Stores an event with one delivery per matching webhook. The answer comes when both are stored.',
    args: { input: t.arg({ type: EmitEventInput, required: true, description: 'The event to emit.' }) },
    resolve: async (_root, { input }, context) => {
      const now = new Date();
      const checked = checkInput(emitInput(callerOf(context), now), input);
      if (checked.kind === 'refused') return nothingStored(checked.userErrors);
      return resultOf(await emitAndHint(context, checked.input, now));
    },
  }),
);

/** Stores the event, tells the workers what is due and when, and the feed what was created. Neither of these can fail the emit. */
export async function emitAndHint(context: SchemaContext, input: EmitInput, now: Date): Promise<EmitResult> {
  const result = await context.emitEvent(input);
  if (result.kind !== 'stored') return result;
  const pending = result.deliveries.filter(({ status, held }) => status === 'PENDING' && !held);
  const delayMs = Math.max(0, (input.deliverAt ?? now).getTime() - now.getTime());
  // First to the feed: a watcher sees a delivery created before it sees it attempted.
  await announce(
    context,
    result.deliveries.map((delivery) => createdEntry(result.event, delivery, now)),
  );
  // Not awaited: the event is stored, and a queue that is slow or down must not keep its caller waiting.
  const urgency = input.testWebhookId === null ? 'normal' : 'urgent';
  if (pending.length > 0) void context.enqueue(pending, { delayMs, urgency });
  return result;
}

/** The row that a stored event is. */
export function eventRowOf(event: StoredEvent): EventRow {
  const { type, occurredAt, createdAt, idempotencyKey } = event;
  return { id: uuidOf(event.id), projectId: uuidOf(event.projectId), type, occurredAt, createdAt, idempotencyKey };
}

function resultOf(result: EmitResult): EmitEventResult {
  if (result.kind === 'conflict') {
    const key = shown(result.event.idempotencyKey);
    const message = `idempotencyKey ${key} was used before with another type or data, for ${result.event.id}.`;
    return nothingStored([userError(['idempotencyKey'], 'IDEMPOTENCY_CONFLICT', message)]);
  }
  const deliveryCount = result.kind === 'stored' ? result.deliveries.length : result.deliveryCount;
  return { event: eventRowOf(result.event), deliveryCount, duplicate: result.kind === 'duplicate', userErrors: [] };
}

function nothingStored(userErrors: UserErrorShape[]): EmitEventResult {
  return { event: null, deliveryCount: null, duplicate: null, userErrors };
}

function emitInput({ projectId }: Caller, now: Date): z.ZodType<EmitInput> {
  const latest = new Date(now.getTime() + deliverAtDelayMsMax);
  return z
    .object({
      type: rule<string>(isEventType, 'INVALID_EVENT_TYPE', 'dotted lower-case words like config.deployed').pipe(
        rule<string>(
          (type) => !isReservedEventType(type),
          'RESERVED_EVENT_TYPE',
          "outside posthorn.*, which is for Posthorn's own events",
        ),
      ),
      data: z.unknown().optional().superRefine(requireFittingData),
      idempotencyKey: rule<string | null>(
        (key) => key === null || isIdempotencyKey(key),
        'INVALID_IDEMPOTENCY_KEY',
        idempotencyKeyRequirement,
      ).default(null),
      occurredAt: z.custom<Date | null>().default(null),
      deliverAt: rule<Date | null>(
        (deliverAt) => deliverAt === null || deliverAt <= latest,
        'INVALID_DELIVER_AT',
        `at most 30 days ahead, ${latest.toISOString()}`,
      ).default(null),
    })
    .transform(({ data = null, occurredAt, ...event }) => ({
      ...event,
      projectId,
      data,
      occurredAt: occurredAt ?? now,
      testWebhookId: null,
    }));
}

function requireFittingData(data: unknown, issues: z.core.$RefinementCtx): void {
  const problem = jsonProblem(data);
  if (problem !== null) {
    issues.addIssue({ code: 'custom', params: { code: 'INVALID_DATA' }, message: `data ${problem}.` });
    return;
  }
  const bytes = Buffer.byteLength(JSON.stringify(data ?? null));
  if (bytes + envelopeBytesMax <= bodyBytesMax) return;
  const most = bodyBytesMax - envelopeBytesMax;
  const message = `data must be at most ${most} bytes as JSON, not ${bytes}.`;
  issues.addIssue({ code: 'custom', params: { code: 'DATA_TOO_LARGE' }, message });
}
