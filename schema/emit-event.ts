import { builder } from './builder.ts';
import { callerOf } from './caller.ts';
import { emitAndHint } from './emit-and-hint.ts';
import { checkEmitInput, emitInputType } from './emit-input.ts';
import { emitOutcomeType, nothingStored, outcomeOf } from './emit-outcome.ts';

const EmitEventInput = emitInputType('EmitEventInput', 'The event to emit.');
const EmitEventPayload = emitOutcomeType('EmitEventPayload', 'What became of the event.');

builder.mutationField('emitEvent', (t) =>
  t.field({
    type: EmitEventPayload,
    needs: 'EMIT_EVENTS',
    extensions: { cost: 1 },
    description: 'Stores an event with one delivery per matching webhook. The answer comes when both are stored.',
    args: { input: t.arg({ type: EmitEventInput, required: true, description: 'The event to emit.' }) },
    resolve: async (_root, { input }, context) => {
      const now = new Date();
      const checked = checkEmitInput(input, callerOf(context).projectId, now);
      if (checked.kind === 'refused') return nothingStored(checked.userErrors);
      const [result] = await emitAndHint(context, [checked.input], { now, urgency: 'normal' });
      if (result === undefined) throw new Error('an emit gave no result');
      return outcomeOf(checked.input, result);
    },
  }),
);
