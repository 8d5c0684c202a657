import type { Prisma } from '../../prisma/generated/client/client.ts';
import { type ApiKeyId, type Id, type IdKind, type ProjectId, uuidOf } from '../domain/ids.ts';
import { newUuid } from './new-id.ts';
import type { Queryable } from './pipelines.ts';

/** Who asked for a change. */
export interface Actor {
  kind: 'API_KEY' | 'ACCESS_TOKEN' | 'ADMINISTRATOR';
  /** The key, or the one that made the access token; null for the administrator. */
  apiKeyId: ApiKeyId | null;
  /** Null outside of an operation: when the process itself sets something up. */
  requestId: string | null;
}

/** What was changed. */
export interface AuditedChange {
  /** The mutation, as in `createWebhook`. */
  action: string;
  targetId: Id<IdKind> | null;
}

/** Writes who changed what. Called in the transaction of the change, so that neither is ever there without the other. */
export async function recordAudit(
  tx: Pick<Prisma.TransactionClient, 'auditEntry'>,
  projectId: ProjectId,
  actor: Actor,
  { action, targetId }: AuditedChange,
): Promise<void> {
  await tx.auditEntry.create({
    data: {
      id: newUuid(),
      projectId: uuidOf(projectId),
      actorKind: actor.kind,
      apiKeyId: actor.apiKeyId === null ? null : uuidOf(actor.apiKeyId),
      action,
      targetId,
      requestId: actor.requestId,
    },
  });
}

/** The same for a change that is made on the hot path's connections. */
export async function recordAuditBySql(
  transaction: Queryable,
  projectId: ProjectId,
  actor: Actor,
  { action, targetId }: AuditedChange,
): Promise<void> {
  const apiKeyUuid = actor.apiKeyId === null ? null : uuidOf(actor.apiKeyId);
  await transaction.query({
    name: 'record-audit',
    text: `insert into audit_entries (id, project_id, actor_kind, api_key_id, action, target_id, request_id)
      values ($1, $2, $3::audit_actor_kind, $4, $5, $6, $7)`,
    values: [newUuid(), uuidOf(projectId), actor.kind, apiKeyUuid, action, targetId, actor.requestId],
  });
}
