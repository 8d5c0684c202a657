import { findId } from '../src/domain/ids.ts';
import { cancelRecovery } from '../src/store/recoveries.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf } from './caller.ts';
import { recoveryPayload } from './recovery-payload.ts';
import { notFoundError, userError } from './user-error.ts';

const CancelRecoveryInput = builder.inputType('CancelRecoveryInput', {
  description: 'Which recovery to stop.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The recovery, `rcv_…`, one that is running.' }) }),
});

const CancelRecoveryPayload = recoveryPayload(
  'CancelRecoveryPayload',
  'The recovery that was stopped.',
  'Why it cannot be stopped: NOT_FOUND, or ALREADY_ENDED.',
);

builder.mutationField('cancelRecovery', (t) =>
  t.field({
    type: CancelRecoveryPayload,
    needs: 'MANAGE_WEBHOOKS',
    description: 'Stops a recovery that is running: nothing more is sent again by it. What it has sent again stays so.',
    args: { input: t.arg({ type: CancelRecoveryInput, required: true, description: 'Which recovery.' }) },
    resolve: async (_root, { input }, context) => {
      const id = findId('recovery', input.id);
      const { projectId } = callerOf(context);
      const result = id === null ? null : await cancelRecovery(context.database, projectId, actorOf(context), id);
      if (result === null || result.kind === 'not-found') {
        return { recovery: null, userErrors: [notFoundError('recovery', input.id)] };
      }
      if (result.kind === 'cancelled') return { recovery: result.recovery, userErrors: [] };
      const message = `Recovery "${input.id}" has ended already: it is ${result.recovery.status}.`;
      return { recovery: null, userErrors: [userError(['id'], 'ALREADY_ENDED', message)] };
    },
  }),
);
