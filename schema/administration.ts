import { z } from 'zod';
import { createProjectWithKey } from '../src/store/projects.ts';
import { ApiKey, type ApiKeyRow } from './api-key.ts';
import { builder } from './builder.ts';
import { actorOf } from './caller.ts';
import { isNameText, nameRequirement } from './input-text.ts';
import { Project, type ProjectRow } from './project.ts';
import { checkInput, rule, UserError, type UserErrorShape } from './user-error.ts';

// What only the administrator can do. It runs over all projects, with the code of the schedules that do the same in time.

const stuckMax = 10_000;
const olderThanDaysDefault = 30;
const olderThanDaysMax = 3_650;
const dayMs = 24 * 3600 * 1000;
/** A cleanup goes on for this long at most, so that its call is answered before anybody gives it up. */
const cleanupLimitMs = 20_000;

interface CreateProjectResult {
  project: ProjectRow | null;
  apiKey: ApiKeyRow | null;
  key: string | null;
  userErrors: UserErrorShape[];
}

const CreateProjectInput = builder.inputType('CreateProjectInput', {
  description: 'The project to make.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'What people call it, 1 to 100 characters.' }),
  }),
});

const CreateProjectPayload = builder.objectRef<CreateProjectResult>('CreateProjectPayload').implement({
  description: 'The project that was made, with its first API key.',
  fields: (t) => ({
    project: t.field({
      type: Project,
      nullable: true,
      description: 'The project; null when none was made.',
      resolve: (result) => result.project,
    }),
    apiKey: t.field({
      type: ApiKey,
      nullable: true,
      description: 'Its first key, which has all permissions; null when none was made.',
      resolve: (result) => result.apiKey,
    }),
    key: t.exposeString('key', {
      nullable: true,
      description: 'The text of that key, shown here and never again; null when none was made.',
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

const projectInput = z.object({ name: rule<string>(isNameText, 'INVALID_NAME', nameRequirement) });

builder.mutationField('createProject', (t) =>
  t.field({
    type: CreateProjectPayload,
    needs: 'ADMINISTRATOR',
    description: 'Makes a project with its first API key, which is shown once. For the administrator.',
    args: { input: t.arg({ type: CreateProjectInput, required: true, description: 'The project to make.' }) },
    resolve: async (_root, { input }, context) => {
      const checked = checkInput(projectInput, input);
      if (checked.kind === 'refused') {
        return { project: null, apiKey: null, key: null, userErrors: checked.userErrors };
      }
      const { name } = checked.input;
      const creation = { name, keyName: 'First key', actor: actorOf(context) };
      return { ...(await createProjectWithKey(context.database, creation)), userErrors: [] };
    },
  }),
);

interface RetryStuckDeliveriesResult {
  enqueuedCount: number | null;
  userErrors: UserErrorShape[];
}

const RetryStuckDeliveriesInput = builder.inputType('RetryStuckDeliveriesInput', {
  description: 'How far to go.',
  fields: (t) => ({
    limit: t.int({ defaultValue: stuckMax, description: 'Most deliveries to retry, 1 to 10,000; the oldest first.' }),
  }),
});

const RetryStuckDeliveriesPayload = builder
  .objectRef<RetryStuckDeliveriesResult>('RetryStuckDeliveriesPayload')
  .implement({
    description: 'What was retried.',
    fields: (t) => ({
      enqueuedCount: t.exposeInt('enqueuedCount', {
        nullable: true,
        description: 'How many deliveries were given to the workers again; null when the input was wrong.',
      }),
      userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
    }),
  });

const stuckInput = z.object({ limit: wholeNumber(stuckMax, 'INVALID_LIMIT', stuckMax) });

builder.mutationField('retryStuckDeliveries', (t) =>
  t.field({
    type: RetryStuckDeliveriesPayload,
    needs: 'ADMINISTRATOR',
    description:
      'Retries the deliveries of all projects that a worker took longer ago than an attempt can take and never ' +
      'recorded. It happens by itself every 5 minutes. For the administrator.',
    args: { input: t.arg({ type: RetryStuckDeliveriesInput, required: true, description: 'How far to go.' }) },
    resolve: async (_root, { input }, { administration }) => {
      const checked = checkInput(stuckInput, input);
      if (checked.kind === 'refused') return { enqueuedCount: null, userErrors: checked.userErrors };
      return { enqueuedCount: await administration.retryStuck(checked.input.limit), userErrors: [] };
    },
  }),
);

interface CleanupDeliveriesResult {
  removed: { eventCount: number; deliveryCount: number; attemptCount: number; finished: boolean } | null;
  userErrors: UserErrorShape[];
}

const CleanupDeliveriesInput = builder.inputType('CleanupDeliveriesInput', {
  description: 'What to remove.',
  fields: (t) => ({
    olderThanDays: t.int({
      defaultValue: olderThanDaysDefault,
      description: 'What ended longer ago than this goes, 1 to 3,650 days.',
    }),
  }),
});

const CleanupDeliveriesPayload = builder.objectRef<CleanupDeliveriesResult>('CleanupDeliveriesPayload').implement({
  description: 'What was removed. The counts are null when the input was wrong.',
  fields: (t) => ({
    eventCount: t.int({
      nullable: true,
      description: 'Events removed; null when the input was wrong.',
      resolve: ({ removed }) => removed?.eventCount,
    }),
    deliveryCount: t.int({
      nullable: true,
      description: 'Deliveries removed; null when the input was wrong.',
      resolve: ({ removed }) => removed?.deliveryCount,
    }),
    attemptCount: t.int({
      nullable: true,
      description: 'Attempts removed; null when the input was wrong.',
      resolve: ({ removed }) => removed?.attemptCount,
    }),
    finished: t.boolean({
      nullable: true,
      description: 'False when 20 seconds were not enough: the next call goes on. Null when the input was wrong.',
      resolve: ({ removed }) => removed?.finished,
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

const cleanupInput = z.object({ olderThanDays: wholeNumber(olderThanDaysDefault, 'INVALID_DAYS', olderThanDaysMax) });

builder.mutationField('cleanupDeliveries', (t) =>
  t.field({
    type: CleanupDeliveriesPayload,
    needs: 'ADMINISTRATOR',
    description:
      'Removes old history of all projects: deliveries that have ended, their attempts, and events without deliveries. ' +
      'What has not ended stays. For the administrator.',
    args: { input: t.arg({ type: CleanupDeliveriesInput, required: true, description: 'What to remove.' }) },
    resolve: async (_root, { input }, { administration }) => {
      const checked = checkInput(cleanupInput, input);
      if (checked.kind === 'refused') return { removed: null, userErrors: checked.userErrors };
      const olderThan = new Date(Date.now() - checked.input.olderThanDays * dayMs);
      const removed = await administration.cleanup(olderThan, AbortSignal.timeout(cleanupLimitMs));
      return { removed, userErrors: [] };
    },
  }),
);

/** A number from 1 to `max`; absent and null are the default. */
function wholeNumber(defaultValue: number, code: string, max: number): z.ZodType<number> {
  return z
    .custom<number | null | undefined>()
    .transform((given) => given ?? defaultValue)
    .pipe(rule<number>((given) => given >= 1 && given <= max, code, `1 to ${max}`));
}
