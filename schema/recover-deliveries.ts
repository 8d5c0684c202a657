import { createRecovery, type RecoveryCreation, runningRecoveriesMax } from '../src/store/recoveries.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf, projectUuidOf } from './caller.ts';
import type { SchemaContext } from './context.ts';
import { shown } from './errors.ts';
import { RecoverableStatus } from './recovery.ts';
import { recoveryInput } from './recovery-input.ts';
import { recoveryPayload, type RecoveryResult } from './recovery-payload.ts';
import { checkInput, userError, type UserErrorShape } from './user-error.ts';
import { findUuid } from './uuid.ts';

const RecoveryFilter = builder.inputType('RecoveryFilter', {
  description:
    'Which deliveries to send again. Everything given must be true; an absent or null entry narrows nothing.',
  fields: (t) => ({
    webhookIds: t.idList({ description: 'To one of these webhooks; at most 100.' }),
    statuses: t.field({
      type: [RecoverableStatus],
      description: 'In one of these statuses; FAILED and SKIPPED when absent.',
    }),
    eventTypes: t.stringList({
      description: 'Of an event type that one of these filters takes: `*`, `config.*` or exact; at most 100.',
    }),
    failureReasons: t.stringList({
      description: 'That ended for one of these reasons: EXHAUSTED, GONE, WEBHOOK_DISABLED, … as deliveries show them.',
    }),
  }),
});

const RecoverDeliveriesInput = builder.inputType('RecoverDeliveriesInput', {
  description: 'Which deliveries to send again, and how.',
  fields: (t) => ({
    filter: t.field({
      type: RecoveryFilter,
      description: 'Only those that all of this is true of; absent takes all that failed or were skipped.',
    }),
    since: t.field({ type: 'DateTime', required: true, description: 'Created then or later.' }),
    until: t.field({
      type: 'DateTime',
      description: 'Created before then: after `since`, and not in the future; absent or null is now.',
    }),
    dryRun: t.boolean({
      defaultValue: false,
      description: 'Only count. The recovery is stored too, COMPLETED, and nothing is sent.',
    }),
    ratePerSecond: t.int({
      description: 'Most deliveries sent again per second, 1 to 5000, averaged over two seconds; 500 when absent.',
    }),
  }),
});

const RecoverDeliveriesPayload = recoveryPayload(
  'RecoverDeliveriesPayload',
  'The recovery that was started.',
  'What was wrong with the input, TOO_MANY_RECOVERIES, or RANGE_TOO_LONG.',
);

builder.mutationField('recoverDeliveries', (t) =>
  t.field({
    type: RecoverDeliveriesPayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Sends many ended deliveries again: those that match by now, oldest first, each with a fresh round of its retry ' +
      'schedule. It is a stored job, which the workers carry out and which survives restarts; `recovery` shows how far it ' +
      `is. A project can have ${runningRecoveriesMax} running at once. What is delivered or sent again meanwhile is passed over, and so is what ` +
      'goes to a webhook that is disabled or deleted; what goes to a paused or failing one waits for that.',
    args: { input: t.arg({ type: RecoverDeliveriesInput, required: true, description: 'Which, and how.' }) },
    resolve: async (_root, { input }, context) => {
      const now = new Date();
      const checked = checkInput(recoveryInput(input.until ?? now, now), { ...input, until: input.until ?? now });
      if (checked.kind === 'refused') return refused(checked.userErrors);
      const missing = await missingWebhooks(context, checked.input.filter.webhookIds ?? []);
      if (missing.length > 0) return refused(missing);
      const { projectId } = callerOf(context);
      const result = await createRecovery(context.database, projectId, actorOf(context), checked.input);
      return result.kind === 'created' ? { recovery: result.recovery, userErrors: [] } : refused([refusalOf(result)]);
    },
  }),
);

/** An error for every id that is no webhook of the project; its deleted ones have deliveries too. */
async function missingWebhooks(context: SchemaContext, ids: readonly string[]): Promise<UserErrorShape[]> {
  const wanted = ids.map((id) => findUuid('webhook', id)).filter((uuid) => uuid !== null);
  const where = { id: { in: wanted }, projectId: projectUuidOf(context) };
  const rows =
    wanted.length === 0 ? [] : await context.database.prisma.webhook.findMany({ where, select: { id: true } });
  const owned = new Set(rows.map((row) => row.id));
  return ids.flatMap((id, index) => {
    if (owned.has(findUuid('webhook', id) ?? '')) return [];
    const message = `No webhook with id ${shown(id)}.`;
    return [userError(['filter', 'webhookIds', index], 'NOT_FOUND', message)];
  });
}

function refusalOf(result: Exclude<RecoveryCreation, { kind: 'created' }>): UserErrorShape {
  if (result.kind === 'too-many') {
    const message = `The project has ${runningRecoveriesMax} recoveries running; one must end or be cancelled first.`;
    return { field: null, code: 'TOO_MANY_RECOVERIES', message };
  }
  const message = 'since and until must have fewer deliveries between them: these could not be counted in time.';
  return userError(['since'], 'RANGE_TOO_LONG', message);
}

function refused(userErrors: UserErrorShape[]): RecoveryResult {
  return { recovery: null, userErrors };
}
