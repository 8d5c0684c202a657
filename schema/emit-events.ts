import type { EmitInput } from '../src/store/emit-event.ts';
import { builder } from './builder.ts';
import { callerOf, projectUuidOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { emitAndHint } from './emit-and-hint.ts';
import { checkEmitInput, emitInputType } from './emit-input.ts';
import { emitOutcomeType, nothingStored, outcomeOf, type EmitOutcome } from './emit-outcome.ts';
import { UserError, userError, type UserErrorShape } from './user-error.ts';

/** Most events of one call. */
const eventsMax = 1_000;
/** Events that are stored at a time, and deliveries that they may make at most: statement, answer and feed entries stay small. */
const eventsAtOnceMax = 500;
const deliveriesAtOnceMax = 10_000;

interface EmitEventsResult {
  results: EmitOutcome[];
  userErrors: UserErrorShape[];
}

/** An event of the call that can be stored, with its place in it. */
interface PlacedInput {
  place: number;
  input: EmitInput;
}

const EmitEventItem = emitInputType('EmitEventItem', 'One of the events to emit.');

const EmitEventsInput = builder.inputType('EmitEventsInput', {
  description: 'The events to emit.',
  fields: (t) => ({
    events: t.field({ type: [EmitEventItem], required: true, description: 'From 1 to 1,000 events.' }),
  }),
});

const EmitEventsOutcome = emitOutcomeType('EmitEventsResult', 'What became of one of the events.');

const EmitEventsPayload = builder.objectRef<EmitEventsResult>('EmitEventsPayload').implement({
  description: 'What became of the events.',
  fields: (t) => ({
    results: t.expose('results', {
      type: [EmitEventsOutcome],
      description: 'What became of each event, in the order of the input; empty when there were too many or none.',
    }),
    userErrors: t.expose('userErrors', {
      type: [UserError],
      description: 'What was wrong with the call as a whole. What was wrong with an event is in its result.',
    }),
  }),
});

builder.mutationField('emitEvents', (t) =>
  t.field({
    type: EmitEventsPayload,
    needs: 'EMIT_EVENTS',
    description:
      'Stores up to 1,000 events, each as `emitEvent` would. A bad one does not stop the others, whose deliveries go out ' +
      'all the same: look at every result. Of several with one idempotency key the first is stored. When the call fails as a ' +
      'whole, some may have been stored: with idempotency keys it can be repeated.',
    args: { input: t.arg({ type: EmitEventsInput, required: true, description: 'The events to emit.' }) },
    resolve: async (_root, { input: { events } }, context) => {
      if (events.length === 0 || events.length > eventsMax) {
        const message = `events must be from 1 to ${eventsMax}, not ${events.length}.`;
        return { results: [], userErrors: [userError(['events'], 'INVALID_EVENT_COUNT', message)] };
      }
      return { results: await emitAll(context, events), userErrors: [] };
    },
  }),
);

async function emitAll(context: SchemaContext, events: readonly object[]): Promise<EmitOutcome[]> {
  const now = new Date();
  const { projectId } = callerOf(context);
  const results: EmitOutcome[] = [];
  const good: PlacedInput[] = [];
  for (const [place, event] of events.entries()) {
    const checked = checkEmitInput(event, projectId, now);
    if (checked.kind === 'ok') good.push({ place, input: checked.input });
    else results[place] = placed(place, nothingStored(checked.userErrors));
  }
  const size = await batchSizeOf(context);
  for (const batch of batchesOf(good, size)) {
    const inputs = batch.map(({ input }) => input);
    const stored = await emitAndHint(context, inputs, { now, urgency: 'normal' });
    for (const [index, result] of stored.entries()) {
      const item = batch[index];
      if (item !== undefined) results[item.place] = placed(item.place, outcomeOf(item.input, result));
    }
  }
  return results;
}

/** As many as make a bounded number of deliveries, should every webhook take them. */
async function batchSizeOf(context: SchemaContext): Promise<number> {
  const webhookCount = await context.database.prisma.webhook.count({
    where: { projectId: projectUuidOf(context), deletedAt: null },
  });
  const size = Math.floor(deliveriesAtOnceMax / Math.max(1, webhookCount));
  return Math.min(eventsAtOnceMax, Math.max(1, size));
}

/**
 * What can be stored together. An event whose idempotency key stands before it in the call comes after all that have none
 * such, so that it meets the first one stored.
 */
function batchesOf(inputs: readonly PlacedInput[], size: number): PlacedInput[][] {
  const keys = new Set<string>();
  const { first = [], again = [] } = Object.groupBy(inputs, ({ input: { idempotencyKey } }) => {
    if (idempotencyKey === null) return 'first';
    if (keys.has(idempotencyKey)) return 'again';
    keys.add(idempotencyKey);
    return 'first';
  });
  return [first, again].flatMap((round) =>
    Array.from({ length: Math.ceil(round.length / size) }, (_, index) => round.slice(index * size, (index + 1) * size)),
  );
}

/** The outcome with the paths of its errors as the caller of `emitEvents` knows them. */
function placed(place: number, outcome: EmitOutcome): EmitOutcome {
  const userErrors = outcome.userErrors.map((error) => ({
    ...error,
    field: error.field && ['input', 'events', String(place), ...error.field.slice(1)],
  }));
  return { ...outcome, userErrors };
}
