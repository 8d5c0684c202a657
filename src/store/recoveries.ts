import { DatabaseError } from 'pg';
import type { Prisma, Recovery } from '../../prisma/generated/client/client.ts';
import { idFromUuid, type ProjectId, type RecoveryId, uuidOf } from '../domain/ids.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { newUuid } from './new-id.ts';
import { lookedSql, type RecoveryScope, scopeValues, sourceOf, takenSql } from './recovery-scope.ts';

/** Recoveries of one project that run at once. */
export const runningRecoveriesMax = 5;

/** A recovery as somebody asks for it; checked before it comes here. */
export interface RecoveryInput extends Pick<RecoveryScope, 'filter' | 'since' | 'until'> {
  dryRun: boolean;
  /** Null takes the deployment's limit. */
  ratePerSecond: number | null;
}

/**
 * What became of it. `too-many`: as many run as may. `too-long`: there are more deliveries between the instants than could
 * be counted in time. Nothing was stored with either.
 */
export type RecoveryCreation = { kind: 'created'; recovery: Recovery } | { kind: 'too-many' } | { kind: 'too-long' };

/**
 * Stores a recovery with the number of deliveries that it matches; the workers carry it out (recovery-step.ts). A dry run
 * is completed with that, and says how many would be passed over since their webhook is disabled or deleted.
 */
export async function createRecovery(
  db: Database,
  projectId: ProjectId,
  actor: Actor,
  input: RecoveryInput,
): Promise<RecoveryCreation> {
  const project = uuidOf(projectId);
  const count = await countMatched(db, { ...input, projectId: project, askedAt: null });
  if (count === null) return { kind: 'too-long' };
  return await db.prisma.$transaction(async (tx) => {
    if (!input.dryRun && !(await hasRoom(tx, project))) return { kind: 'too-many' };
    const recovery = await tx.recovery.create({ data: { ...columnsOf(input, count), projectId: project } });
    const targetId = idFromUuid('recovery', recovery.id);
    await recordAudit(tx, projectId, actor, { action: 'recoverDeliveries', targetId });
    return { kind: 'created', recovery };
  });
}

interface MatchedCount {
  matched: number;
  /** Of these, to webhooks that take nothing. */
  unavailable: number;
  askedAt: Date;
}

/** Deliveries that one statement looks at: few enough that the order of an index is worth more than a sort. */
const lookedMax = 2_000;
/** How long all of them may take, in milliseconds. */
const countMsMax = 5_000;

const countSql = { ofProject: countSqlOf('ofProject'), ofWebhooks: countSqlOf('ofWebhooks') } as const;

function countSqlOf(source: 'ofProject' | 'ofWebhooks'): string {
  return `
with looked as materialized (${lookedSql(source, '$11')}
), taken as materialized (
  select d.webhook_id from deliveries d where d.id = any(array(select id from looked)) and ${takenSql}
)
select (select id from looked order by id desc limit 1) as last, (select count(*)::int from looked) as seen,
       (select count(*)::int from taken) as matched,
       (select count(*)::int from taken join webhooks w on w.id = taken.webhook_id
        where w.deleted_at is not null or w.status = 'DISABLED') as unavailable,
       coalesce($4, now())::timestamptz(3) as "askedAt"`;
}

/**
 * Counts what the scope takes, as a recovery will look at it: one statement for all of it would be planned now and then to
 * read all that a webhook ever got. Null when it takes too long.
 */
async function countMatched(db: Database, scope: RecoveryScope): Promise<MatchedCount | null> {
  const untilMs = performance.now() + countMsMax;
  const { source, values } = sourceOf(scope.filter);
  let askedAt: Date | null = null;
  let position: string | null = null;
  const total = { matched: 0, unavailable: 0 };
  for (;;) {
    const page = await countPage(db, source, [...scopeValues({ ...scope, askedAt }), position, lookedMax, ...values]);
    if (page === null || performance.now() > untilMs) return null;
    total.matched += page.matched;
    total.unavailable += page.unavailable;
    askedAt = page.askedAt;
    position = page.last;
    if (page.seen < lookedMax) return { ...total, askedAt };
  }
}

/** Source: SQLSTATE 57014, query_canceled; nobody but the statement's time limit cancels here. */
const timeLimitCode = '57014';

interface CountedPage extends MatchedCount {
  last: string | null;
  seen: number;
}

async function countPage(db: Database, source: keyof typeof countSql, values: unknown[]): Promise<CountedPage | null> {
  const statement = { name: `count-recovery-${source}`, text: countSql[source], values };
  try {
    const { rows } = await db.upkeep.query<CountedPage>(statement);
    return rows[0] ?? null;
  } catch (error) {
    if (error instanceof DatabaseError && error.code === timeLimitCode) return null;
    throw error;
  }
}

/** Whether another recovery may run. Locks the project for those that ask at the same time: they are counted one by one. */
async function hasRoom(tx: Prisma.TransactionClient, projectId: string): Promise<boolean> {
  await tx.$queryRaw`select id from projects where id = ${projectId}::uuid for no key update`;
  return (await tx.recovery.count({ where: { projectId, status: 'RUNNING' } })) < runningRecoveriesMax;
}

function columnsOf(
  { filter, dryRun, ...columns }: RecoveryInput,
  { matched, unavailable, askedAt }: MatchedCount,
): Omit<Prisma.RecoveryUncheckedCreateInput, 'projectId'> {
  return {
    ...columns,
    id: newUuid(),
    filter: { ...filter },
    dryRun,
    matchedCount: matched,
    createdAt: askedAt,
    progressedAt: askedAt,
    ...(dryRun && { status: 'COMPLETED', passedOverCount: unavailable, finishedAt: askedAt }),
  };
}

/** What became of a cancellation. `ended`: it had ended before, and nothing changed. */
export type RecoveryCancellation =
  | { kind: 'cancelled'; recovery: Recovery }
  | { kind: 'ended'; recovery: Recovery }
  | { kind: 'not-found' };

/** Stops a recovery: a step under way is waited for, and none follows. What was sent again stays so. */
export async function cancelRecovery(
  db: Database,
  projectId: ProjectId,
  actor: Actor,
  recoveryId: RecoveryId,
): Promise<RecoveryCancellation> {
  const where = { id: uuidOf(recoveryId), projectId: uuidOf(projectId) };
  return await db.prisma.$transaction(async (tx): Promise<RecoveryCancellation> => {
    const [cancelled] = await tx.recovery.updateManyAndReturn({
      where: { ...where, status: 'RUNNING' },
      data: { status: 'CANCELLED', finishedAt: new Date() },
    });
    if (cancelled !== undefined) {
      await recordAudit(tx, projectId, actor, { action: 'cancelRecovery', targetId: recoveryId });
      return { kind: 'cancelled', recovery: cancelled };
    }
    const recovery = await tx.recovery.findFirst({ where });
    return recovery === null ? { kind: 'not-found' } : { kind: 'ended', recovery };
  });
}
