import { z } from 'zod';
import { cleanupCallLimitMs, isRetentionDays, isRetryLimit, retryStuckMax } from '../src/domain/upkeep.ts';
import { createProjectWithKey } from '../src/store/projects.ts';
import { ApiKey, type ApiKeyRow } from './api-key.ts';
import { builder } from './builder.ts';
import { actorOf } from './caller.ts';
import { isNameText, nameRequirement } from './input-text.ts';
import { Project, type ProjectRow } from './project.ts';
import { checkInput, rule, UserError, type UserErrorShape } from './user-error.ts';
import type { CleanupResult } from '../src/store/cleanup.ts';

// What only the administrator can do. It runs over all projects, with the code of the schedules that do the same in time.

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
    limit: t.int({
      defaultValue: retryStuckMax,
      description: 'Most deliveries to retry, 1 to 10,000; the oldest first.',
    }),
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

const stuckInput = z.object({
  limit: absentIs(retryStuckMax).pipe(rule<number>(isRetryLimit, 'INVALID_LIMIT', '1 to 10,000')),
});

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
  removed: CleanupResult | null;
  userErrors: UserErrorShape[];
}

const CleanupDeliveriesInput = builder.inputType('CleanupDeliveriesInput', {
  description: 'What to remove.',
  fields: (t) => ({
    olderThanDays: t.int({
      description:
        'What ended longer ago than this goes, 1 to 3,650 days; audit entries stay for a year at least. Without it as long ' +
        'as the deployment keeps history (WEBHOOK_RETENTION_DAYS, 30); where that is for ever, it has to be said.',
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
    recoveryCount: t.int({
      nullable: true,
      description: 'Recoveries removed; null when the input was wrong.',
      resolve: ({ removed }) => removed?.recoveryCount,
    }),
    auditEntryCount: t.int({
      nullable: true,
      description: 'Audit entries removed; null when the input was wrong.',
      resolve: ({ removed }) => removed?.auditEntryCount,
    }),
    finished: t.boolean({
      nullable: true,
      description: 'False when 20 seconds were not enough: the next call goes on. Null when the input was wrong.',
      resolve: ({ removed }) => removed?.finished,
    }),
    userErrors: t.expose('userErrors', { type: [UserError], description: 'What was wrong with the input.' }),
  }),
});

builder.mutationField('cleanupDeliveries', (t) =>
  t.field({
    type: CleanupDeliveriesPayload,
    needs: 'ADMINISTRATOR',
    description:
      'Removes old history of all projects: deliveries that have ended, their attempts, and events without deliveries. ' +
      'What has not ended stays. It happens by itself every day at 03:00 UTC. For the administrator.',
    args: { input: t.arg({ type: CleanupDeliveriesInput, required: true, description: 'What to remove.' }) },
    resolve: async (_root, { input }, { administration }) => {
      const checked = checkInput(cleanupInput(administration.retentionDays), input);
      if (checked.kind === 'refused') return { removed: null, userErrors: checked.userErrors };
      const removed = await administration.cleanup(
        checked.input.olderThanDays,
        AbortSignal.timeout(cleanupCallLimitMs),
      );
      return { removed, userErrors: [] };
    },
  }),
);

/** What the cleanup of a deployment takes that keeps history for so long. */
function cleanupInput(retentionDays: number | null) {
  const allowed = rule<number>(isRetentionDays, 'INVALID_DAYS', '1 to 3,650');
  return z.object({ olderThanDays: absentIs(retentionDays).pipe(allowed) });
}

/** A number for which absent and null stand for another; where there is none, for what no rule takes. */
function absentIs(defaultValue: number | null) {
  return z
    .number()
    .nullish()
    .transform((given) => given ?? defaultValue ?? Number.NaN);
}
