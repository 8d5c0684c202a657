import type { Prisma } from '../../prisma/generated/client/client.ts';
import { type ApiKeyId, type Id, type IdKind, type ProjectId, uuidOf } from '../domain/ids.ts';
import { newUuid } from './new-id.ts';

/** Who asked for a change. */
export interface Actor {
  kind: 'API_KEY' | 'ACCESS_TOKEN' | 'ADMINISTRATOR';
  /** The key, or the one that made the access token; null for the administrator. */
  apiKeyId: ApiKeyId | null;
  requestId: string;
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
