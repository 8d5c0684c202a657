import { createHash, randomBytes } from 'node:crypto';
import type { ApiKey, Prisma } from '../../prisma/generated/client/client.ts';
import { type ApiKeyId, idFromUuid, type ProjectId, uuidOf } from '../domain/ids.ts';
import { isPermission, type Permission } from '../domain/permissions.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { newId } from './new-id.ts';
import type { Pipelines } from './pipelines.ts';

export interface ApiKeyInput {
  name: string;
  permissions: readonly Permission[];
  /** Null never expires. */
  expiresAt: Date | null;
}

/** What an API key's text proves. */
export interface FoundApiKey {
  apiKeyId: ApiKeyId;
  projectId: ProjectId;
  permissions: ReadonlySet<Permission>;
  /** Null never expires. */
  expiresAt: Date | null;
}

const keyPattern = /^phk_[\w-]{43}$/;
const recognisableCharacters = 8;

/** Most keys that a list gives. */
export const apiKeysListedMax = 1_000;

/** Creates an API key. `key` is its text, `phk_` and 32 random bytes in base64url: shown now and never again. */
export async function createApiKey(
  db: Database,
  projectId: ProjectId,
  input: ApiKeyInput,
  actor: Actor,
): Promise<{ apiKey: ApiKey; key: string }> {
  return await db.prisma.$transaction(async (tx) => {
    const { apiKeyId, ...created } = await insertApiKey(tx, projectId, input);
    await recordAudit(tx, projectId, actor, { action: 'createApiKey', targetId: apiKeyId });
    return created;
  });
}

/** Stores a new key in the transaction of a change that is more than that, and is audited as such. */
export async function insertApiKey(
  tx: Pick<Prisma.TransactionClient, 'apiKey'>,
  projectId: ProjectId,
  input: ApiKeyInput,
): Promise<{ apiKeyId: ApiKeyId; apiKey: ApiKey; key: string }> {
  const apiKeyId = newId('apiKey');
  const key = `phk_${randomBytes(32).toString('base64url')}`;
  const apiKey = await tx.apiKey.create({
    data: {
      id: uuidOf(apiKeyId),
      projectId: uuidOf(projectId),
      name: input.name,
      keyHash: hashOf(key),
      keyPrefix: key.slice(0, recognisableCharacters),
      permissions: [...input.permissions],
      expiresAt: input.expiresAt,
    },
  });
  return { apiKeyId, apiKey, key };
}

/**
 * Finds whom an API key's text speaks for, or null when there is no such key, or it was revoked or has expired.
 * It is looked up by its hash, so that the time it takes tells nothing about the keys that exist.
 */
export async function findApiKey(db: Pipelines, key: string): Promise<FoundApiKey | null> {
  if (!isKeyText(key)) return null;
  return await findLiveKey(db, { name: 'find-api-key', column: 'key_hash', value: hashOf(key) });
}

/** Finds the key of an id, for an access token that it made; null when it was revoked or has expired. */
export async function findApiKeyById(db: Pipelines, apiKeyId: ApiKeyId): Promise<FoundApiKey | null> {
  return await findLiveKey(db, { name: 'find-api-key-by-id', column: 'id', value: uuidOf(apiKeyId) });
}

/** Whether the text has the shape of a key; one that has not costs no look-up. */
export function isKeyText(text: string): boolean {
  return keyPattern.test(text);
}

async function findLiveKey(
  db: Pipelines,
  { name, column, value }: { name: string; column: 'key_hash' | 'id'; value: unknown },
): Promise<FoundApiKey | null> {
  const { rows } = await db.pipeline.query<{
    id: string;
    project_id: string;
    permissions: string[];
    expires_at: Date | null;
  }>({
    name,
    text: `select id, project_id, permissions, expires_at from api_keys
      where ${column} = $1 and revoked_at is null and (expires_at is null or expires_at > now())`,
    values: [value],
  });
  const row = rows[0];
  if (row === undefined) return null;
  return {
    apiKeyId: idFromUuid('apiKey', row.id),
    projectId: idFromUuid('project', row.project_id),
    permissions: new Set(row.permissions.filter(isPermission)),
    expiresAt: row.expires_at,
  };
}

/** Revokes the key for good and gives it, or null when the project has none such. Again changes nothing. */
export async function revokeApiKey(
  db: Database,
  projectId: ProjectId,
  apiKeyId: ApiKeyId,
  actor: Actor,
): Promise<ApiKey | null> {
  const key = { id: uuidOf(apiKeyId), projectId: uuidOf(projectId) };
  return await db.prisma.$transaction(async (tx) => {
    const [revoked] = await tx.apiKey.updateManyAndReturn({
      where: { ...key, revokedAt: null },
      data: { revokedAt: new Date() },
    });
    if (revoked === undefined) return await tx.apiKey.findFirst({ where: key });
    await recordAudit(tx, projectId, actor, { action: 'revokeApiKey', targetId: apiKeyId });
    return revoked;
  });
}

/** Lists the project's keys, newest first, revoked and expired ones included; at most 1,000. */
export async function listApiKeys(db: Database, projectId: ProjectId): Promise<ApiKey[]> {
  return await db.prisma.apiKey.findMany({
    where: { projectId: uuidOf(projectId) },
    orderBy: { id: 'desc' },
    take: apiKeysListedMax,
  });
}

function hashOf(key: string): Buffer<ArrayBuffer> {
  return Buffer.from(createHash('sha256').update(key).digest());
}
