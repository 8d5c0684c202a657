import { uuidOf } from '../src/domain/ids.ts';
import type { DataProblem } from '../src/json-schema/compile-schema.ts';
import type { EmitInput, EmitResult, StoredEvent } from '../src/store/emit-event.ts';
import type { DataRefusal } from '../src/store/event-schemas.ts';
import { builder } from './builder.ts';
import { shown } from './errors.ts';
import { Event, type EventRow } from './event.ts';
import { UserError, userError, type UserErrorShape } from './user-error.ts';

/** What became of an event, as the payloads of emits show it. */
export interface EmitOutcome {
  event: EventRow | null;
  deliveryCount: number | null;
  duplicate: boolean | null;
  userErrors: UserErrorShape[];
}

/** Makes the type that shows what became of an event. */
export function emitOutcomeType(name: string, description: string) {
  return builder.objectRef<EmitOutcome>(name).implement({
    description,
    fields: (t) => ({
      event: t.field({
        type: Event,
        nullable: true,
        description: 'The event as it is stored, the earlier one for a duplicate; null when none was stored.',
        resolve: (outcome) => outcome.event,
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
}

/** What became of the event that the input asked for. */
export function outcomeOf(input: EmitInput, result: EmitResult): EmitOutcome {
  if (result.kind === 'refused') return nothingStored(refusalErrors(input, result.refusal));
  if (result.kind === 'conflict') {
    const key = shown(result.event.idempotencyKey);
    const message = `idempotencyKey ${key} was used before with another type or data, for ${result.event.id}.`;
    return nothingStored([userError(['idempotencyKey'], 'IDEMPOTENCY_CONFLICT', message)]);
  }
  const deliveryCount = result.kind === 'stored' ? result.deliveries.length : result.deliveryCount;
  return { event: eventRowOf(result.event), deliveryCount, duplicate: result.kind === 'duplicate', userErrors: [] };
}

/** The outcome of an event that was not stored. */
export function nothingStored(userErrors: UserErrorShape[]): EmitOutcome {
  return { event: null, deliveryCount: null, duplicate: null, userErrors };
}

function refusalErrors({ type }: EmitInput, refusal: DataRefusal): UserErrorShape[] {
  if (refusal.kind === 'mismatch') return refusal.problems.map((problem) => mismatchError(type, problem));
  if (refusal.kind === 'too-costly') {
    const message = `data takes too long to be checked against the schema of ${type}, or other checks and schemas of the project took too long lately.`;
    return [userError(['data'], 'DATA_CHECK_TOO_COSTLY', message)];
  }
  const message = `data cannot be checked: the schema of ${type} ${refusal.reason}.`;
  return [userError(['data'], 'SCHEMA_UNUSABLE', message)];
}

function mismatchError(type: string, { path, message, value }: DataProblem): UserErrorShape {
  const place = ['data', ...path];
  const text = `${place.join('.')} ${message}, not ${shown(value)}: the schema of ${type} says so.`;
  return userError(place, 'DATA_DOES_NOT_MATCH', text);
}

function eventRowOf(event: StoredEvent): EventRow {
  const { type, occurredAt, createdAt, idempotencyKey } = event;
  return { id: uuidOf(event.id), projectId: uuidOf(event.projectId), type, occurredAt, createdAt, idempotencyKey };
}
