import type { Prisma } from '../prisma/generated/client/client.ts';
import { idFromUuid } from '../src/domain/ids.ts';
import { parseRecoveryFilter, type RecoveryFilter } from '../src/store/recovery-scope.ts';
import { recoveryRateDefault } from '../src/store/recovery-step.ts';
import { builder } from './builder.ts';
import { projectUuidOf } from './caller.ts';
import { loadConnection } from './connection.ts';
import { notFound } from './errors.ts';
import { findUuid } from './uuid.ts';

/** The columns of a recovery. */
export const recoveryColumns = {
  id: true,
  projectId: true,
  status: true,
  filter: true,
  since: true,
  until: true,
  dryRun: true,
  ratePerSecond: true,
  matchedCount: true,
  recoveredCount: true,
  passedOverCount: true,
  createdAt: true,
  finishedAt: true,
} as const satisfies Prisma.RecoverySelect;

/** A recovery as resolvers pass it on. */
export type RecoveryRow = Prisma.RecoveryGetPayload<{ select: typeof recoveryColumns }>;

/** Statuses that a recovery takes. */
export const RecoverableStatus = builder.enumType('RecoverableStatus', {
  description: 'Where a delivery stands that a recovery can take: it has ended, and not been delivered.',
  values: {
    FAILED: { description: 'No attempt was left, or it was stopped for good.' },
    SKIPPED: { description: 'The webhook was disabled when the event came.' },
    CANCELLED: { description: 'A person stopped it: by cancelling it, or by deleting its webhook.' },
  },
});

const RecoveryStatus = builder.enumType('RecoveryStatus', {
  description: 'Where a recovery stands.',
  values: {
    RUNNING: { description: 'Deliveries are being sent again.' },
    COMPLETED: { description: 'All were looked at; a dry run is that from the start.' },
    CANCELLED: { description: 'A person stopped it; what it had sent again stays so.' },
  },
});

const RecoveredDeliveries = builder.objectRef<RecoveryFilter>('RecoveredDeliveries').implement({
  description: 'Which deliveries a recovery takes, of those created in its time. All of it is true of each.',
  fields: (t) => ({
    webhookIds: t.idList({
      nullable: true,
      description: 'To one of these webhooks; null is any.',
      resolve: ({ webhookIds }) => webhookIds,
    }),
    statuses: t.field({
      type: [RecoverableStatus],
      description: 'In one of these statuses.',
      resolve: ({ statuses }) => statuses,
    }),
    eventTypes: t.stringList({
      nullable: true,
      description: 'Of an event type that one of these filters takes; null is any.',
      resolve: ({ eventTypes }) => eventTypes,
    }),
    failureReasons: t.stringList({
      nullable: true,
      description: 'That ended for one of these reasons; null is any.',
      resolve: ({ failureReasons }) => failureReasons,
    }),
  }),
});

/** The GraphQL type of recoveries. */
export const Recovery = builder.prismaObject('Recovery', {
  select: recoveryColumns,
  description: 'Many deliveries sent again by filter: a stored job, which goes on where it was after any restart.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `rcv_…`.', resolve: (recovery) => idFromUuid('recovery', recovery.id) }),
    status: t.field({ type: RecoveryStatus, description: 'Where it stands.', resolve: (recovery) => recovery.status }),
    filter: t.field({
      type: RecoveredDeliveries,
      description: 'What it takes.',
      resolve: (recovery) => parseRecoveryFilter(recovery.filter),
    }),
    since: t.field({
      type: 'DateTime',
      description: 'It takes deliveries created then or later.',
      resolve: (recovery) => recovery.since,
    }),
    until: t.field({
      type: 'DateTime',
      description: 'It takes deliveries created before then.',
      resolve: (recovery) => recovery.until,
    }),
    dryRun: t.boolean({ description: 'Whether it only counted.', resolve: (recovery) => recovery.dryRun }),
    createdAt: t.field({
      type: 'DateTime',
      description: 'When it was asked for. Deliveries that ended later are not taken.',
      resolve: (recovery) => recovery.createdAt,
    }),
    finishedAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When it ended; null while it runs.',
      resolve: (recovery) => recovery.finishedAt,
    }),
  }),
});

builder.prismaObjectFields(Recovery, (t) => ({
  ratePerSecond: t.int({
    description: 'Most deliveries that it sends again per second.',
    resolve: (recovery) => recovery.ratePerSecond ?? recoveryRateDefault,
  }),
  matchedCount: t.int({
    description: 'Deliveries that matched when it was asked for.',
    resolve: (recovery) => recovery.matchedCount,
  }),
  recoveredCount: t.int({ description: 'Sent again so far.', resolve: (recovery) => recovery.recoveredCount }),
  passedOverCount: t.int({
    description:
      'Passed over so far: sent again by somebody else meanwhile, or to a webhook that is disabled or deleted. ' +
      'Of a dry run, those that would be for their webhook.',
    resolve: (recovery) => recovery.passedOverCount,
  }),
  remainingCount: t.int({ description: 'Not looked at yet; 0 when it is COMPLETED.', resolve: remainingCount }),
  progress: t.float({
    description: 'The part that was looked at, from 0 to 1; 1 when it is COMPLETED.',
    resolve: (recovery) => (recovery.matchedCount === 0 ? 1 : 1 - remainingCount(recovery) / recovery.matchedCount),
  }),
}));

/** What ended between the count and the first step can make a few more than matched. */
function remainingCount({ status, matchedCount, recoveredCount, passedOverCount }: RecoveryRow): number {
  return status === 'COMPLETED' ? 0 : Math.max(0, matchedCount - recoveredCount - passedOverCount);
}

const RecoveryConnection = builder.connectionObject(
  { type: Recovery, name: 'RecoveryConnection', description: 'Recoveries, newest first.' },
  { name: 'RecoveryEdge', description: 'A recovery and its place in the list.' },
);

builder.queryFields((t) => ({
  recovery: t.field({
    type: Recovery,
    nullable: true,
    needs: 'VIEW_WEBHOOKS',
    description: 'One recovery; null with a NOT_FOUND error when the project has none with this id.',
    args: { id: t.arg.id({ required: true, description: 'Its id, `rcv_…`.' }) },
    resolve: async (_root, { id }, context) => {
      const uuid = findUuid('recovery', id);
      const found =
        uuid === null
          ? null
          : await context.database.prisma.recovery.findFirst({
              select: recoveryColumns,
              where: { id: uuid, projectId: projectUuidOf(context) },
            });
      if (found === null) throw notFound('recovery', id);
      return found;
    },
  }),
  recoveries: t.field({
    type: RecoveryConnection,
    needs: 'VIEW_WEBHOOKS',
    description: 'The recoveries of the project, newest first, dry runs too.',
    args: t.arg.connectionArgs(),
    resolve: async (_root, args, context) => {
      const { recovery } = context.database.prisma;
      const where = { projectId: projectUuidOf(context) };
      return await loadConnection(
        args,
        async ({ where: bounds, ...window }) =>
          await recovery.findMany({ select: recoveryColumns, ...window, where: { ...where, ...bounds } }),
        async () => await recovery.count({ where }),
      );
    },
  }),
}));
