import { z } from 'zod';
import { findId, type ProjectId } from '../src/domain/ids.ts';
import { compileInTurn } from '../src/json-schema/compile-in-turn.ts';
import {
  deleteEventType,
  eventTypesMax,
  upsertEventType,
  type EventTypeChanges,
  type EventTypeRow,
} from '../src/store/event-types.ts';
import { builder } from './builder.ts';
import { actorOf, callerOf } from './caller.ts';
import { EventType } from './event-type.ts';
import { ownEventTypeName } from './event-type-name.ts';
import { isDescriptionLength, isStorableText } from './input-text.ts';
import { checkInput, notFoundError, rule, UserError, userError, type UserErrorShape } from './user-error.ts';

interface UpsertEventTypeResult {
  eventType: EventTypeRow | null;
  created: boolean | null;
  userErrors: UserErrorShape[];
}

const UpsertEventTypeInput = builder.inputType('UpsertEventTypeInput', {
  description: 'What to write about an event type. What is absent stays as it is.',
  fields: (t) => ({
    name: t.string({
      required: true,
      description: 'Its name: dotted lower-case words, as in `config.deployed`; not `posthorn.…`, which is reserved.',
    }),
    description: t.string({
      description: 'When such events happen, at most 1,000 characters; null removes it.',
    }),
    schema: t.field({
      type: 'JSON',
      description:
        'JSON Schema that the data of such events must match: draft 2020-12, or draft-07 when its `$schema` says so. At most ' +
        '32 KiB, 500 schemas and 40 keys deep. `$ref` leads to places within it only; keywords and formats that nobody ' +
        'knows are errors. Null removes it: any data is taken.',
    }),
  }),
});

const UpsertEventTypePayload = builder.objectRef<UpsertEventTypeResult>('UpsertEventTypePayload').implement({
  description: 'What became of the event type.',
  fields: (t) => ({
    eventType: t.field({
      type: EventType,
      nullable: true,
      description: 'The event type as it now is; null when nothing was done.',
      resolve: (result) => result.eventType,
    }),
    created: t.exposeBoolean('created', {
      nullable: true,
      description: 'Whether the project had none of that name before; null when nothing was done.',
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

builder.mutationField('upsertEventType', (t) =>
  t.field({
    type: UpsertEventTypePayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Describes an event type, at most 1,000 per project. Its schema applies, in every process, to each event that is stored ' +
      'after the answer; events stored before stay. Checking data is limited: what takes longer than 50 ms twice, or comes ' +
      'from a project whose checks take more than a twentieth of the time, or whose schemas take more than a tenth of it to ' +
      'be compiled, is refused with DATA_CHECK_TOO_COSTLY.',
    args: { input: t.arg({ type: UpsertEventTypeInput, required: true, description: 'What to write.' }) },
    resolve: async (_root, { input }, context) => {
      const { projectId } = callerOf(context);
      const checked = checkInput(eventTypeInput, input);
      const userErrors = [...checked.userErrors, ...(await schemaErrors(projectId, input.schema))];
      if (checked.kind === 'refused' || userErrors.length > 0) return nothingDone(userErrors);
      const result = await upsertEventType(context.database, projectId, actorOf(context), checked.input);
      if (result.kind === 'done') return { ...result, userErrors: [] };
      const message = `name ${JSON.stringify(input.name)} would be one too many: a project describes at most ${eventTypesMax} event types.`;
      return nothingDone([userError(['name'], 'TOO_MANY_EVENT_TYPES', message)]);
    },
  }),
);

const tooCostlyNow = userError(
  ['schema'],
  'SCHEMA_TOO_COSTLY',
  'schema cannot be tried now: the schemas of this project took too much time lately. Try again in some seconds.',
);

const eventTypeInput: z.ZodType<EventTypeChanges> = z.object({
  name: ownEventTypeName,
  description: rule<string | null>(
    (text) => text === null || (isDescriptionLength(text) && isStorableText(text)),
    'INVALID_DESCRIPTION',
    'at most 1,000 characters, without NUL characters and halves of surrogate pairs',
  ).optional(),
  schema: z.custom<object | null>().optional(),
});

async function schemaErrors(projectId: ProjectId, schema: unknown): Promise<UserErrorShape[]> {
  if (schema === null || schema === undefined) return [];
  const compiled = await compileInTurn(projectId, schema);
  if (compiled.kind === 'compiled') return [];
  if (compiled.kind === 'not-now') return [tooCostlyNow];
  return compiled.problems.map(({ path, code, message }) =>
    userError(['schema', ...path], code, `${['schema', ...path].join('.')} ${message}.`),
  );
}

function nothingDone(userErrors: UserErrorShape[]): UpsertEventTypeResult {
  return { eventType: null, created: null, userErrors };
}

interface DeleteEventTypeResult {
  eventType: EventTypeRow | null;
  userErrors: UserErrorShape[];
}

const DeleteEventTypeInput = builder.inputType('DeleteEventTypeInput', {
  description: 'Which event type to delete.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The event type, `ety_…`.' }) }),
});

const DeleteEventTypePayload = builder.objectRef<DeleteEventTypeResult>('DeleteEventTypePayload').implement({
  description: 'The event type that was deleted.',
  fields: (t) => ({
    eventType: t.field({
      type: EventType,
      nullable: true,
      description: 'The event type as it was; null when nothing was done.',
      resolve: (result) => result.eventType,
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

builder.mutationField('deleteEventType', (t) =>
  t.field({
    type: DeleteEventTypePayload,
    needs: 'MANAGE_WEBHOOKS',
    description:
      'Deletes what was said about an event type. Its events and the filters that name it stay, and events of that type are ' +
      'taken with any data.',
    args: { input: t.arg({ type: DeleteEventTypeInput, required: true, description: 'Which event type.' }) },
    resolve: async (_root, { input }, context) => {
      const eventTypeId = findId('eventType', input.id);
      const { projectId } = callerOf(context);
      const eventType =
        eventTypeId && (await deleteEventType(context.database, projectId, actorOf(context), eventTypeId));
      if (eventType === null) return { eventType, userErrors: [notFoundError('event type', input.id)] };
      return { eventType, userErrors: [] };
    },
  }),
);
