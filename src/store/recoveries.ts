import { DatabaseError } from 'pg';
import type { Prisma, Recovery } from '../../prisma/generated/client/client.ts';
import { idFromUuid, type ProjectId, type RecoveryId, uuidOf } from '../domain/ids.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { newUuid } from './new-id.ts';
import { afterAllOfSql, rangeSql, type RecoveryScope, scopeValues, sourceOf, takenSql } from './recovery-scope.ts';

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

const countSql = {
  ofProject: countSqlOf(
    `select d.webhook_id from ${rangeSql('project_id', '$1::uuid', afterAllOfSql)} and ${takenSql}`,
  ),
  ofWebhooks: countSqlOf(`select taken.webhook_id from unnest($9::uuid[]) as wanted(id) cross join lateral (
    select d.webhook_id from ${rangeSql('webhook_id', 'wanted.id', afterAllOfSql)} and ${takenSql} offset 0) taken`),
} as const;

function countSqlOf(takenWebhooksSql: string): string {
  return `
with matched as materialized (
  select t.webhook_id, count(*)::int as count from (${takenWebhooksSql}) t group by t.webhook_id
)
select coalesce(sum(m.count), 0)::int as matched,
       coalesce(sum(m.count) filter (where w.deleted_at is not null or w.status = 'DISABLED'), 0)::int as unavailable,
       now()::timestamptz(3) as "askedAt"
from matched m join webhooks w on w.id = m.webhook_id`;
}

/** Source: SQLSTATE 57014, query_canceled; nobody but the statement's time limit cancels here. */
const timeLimitCode = '57014';

/** Counts what the scope takes now; null when that takes longer than a statement may. */
async function countMatched(db: Database, scope: RecoveryScope): Promise<MatchedCount | null> {
  try {
    const { source, values } = sourceOf(scope.filter);
    const { rows } = await db.upkeep.query<MatchedCount>({
      name: `count-recovery-${source}`,
      text: countSql[source],
      values: [...scopeValues(scope), ...values],
    });
    const [count] = rows;
    if (count === undefined) throw new Error('a count gave no row');
    return count;
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
