import { type Actor, recordAuditBySql } from './audit.ts';
import { type EmitInput, type EmitResult, type EmitSettings, newEvent, storeEvents } from './emit-event.ts';
import { inTransaction, type Pipelines } from './pipelines.ts';

/**
 * Stores a test event with its delivery. In a transaction of its own and not together with other emits, since a person
 * asked for it, which is audited. Without a delivery, when the webhook is gone, nothing is audited.
 */
export async function emitTest(
  database: Pipelines,
  settings: EmitSettings,
  input: EmitInput,
  actor: Actor,
): Promise<EmitResult> {
  return await inTransaction(database, async (transaction) => {
    const [result] = await storeEvents(transaction, settings, [newEvent(input)]);
    if (result?.kind !== 'stored') throw new Error('a test event has no idempotency key, and was not stored');
    const change = { action: 'testWebhook', targetId: input.testWebhookId };
    if (result.deliveries.length > 0) await recordAuditBySql(transaction, input.projectId, actor, change);
    return result;
  });
}
