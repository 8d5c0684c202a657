import { createHash, randomBytes } from 'node:crypto';
import type { ApiKey } from '../../prisma/generated/client/client.ts';
import { type ApiKeyId, idFromUuid, type ProjectId, uuidOf } from '../domain/ids.ts';
import { isPermission, type Permission } from '../domain/permissions.ts';
import type { Database } from './database.ts';
import { newUuid } from './new-id.ts';

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
): Promise<{ apiKey: ApiKey; key: string }> {
  const key = `phk_${randomBytes(32).toString('base64url')}`;
  const apiKey = await db.prisma.apiKey.create({
    data: {
      id: newUuid(),
      projectId: uuidOf(projectId),
      name: input.name,
      keyHash: hashOf(key),
      keyPrefix: key.slice(0, recognisableCharacters),
      permissions: [...input.permissions],
      expiresAt: input.expiresAt,
    },
  });
  return { apiKey, key };
}

/**
 * Finds whom an API key's text speaks for, or null when there is no such key, or it was revoked or has expired.
 * It is looked up by its hash, so that the time it takes tells nothing about the keys that exist.
 */
export async function findApiKey(db: Database, key: string): Promise<FoundApiKey | null> {
  if (!keyPattern.test(key)) return null;
  const { rows } = await db.pipeline.query<{ id: string; project_id: string; permissions: string[] }>({
    name: 'find-api-key',
    text: `select id, project_id, permissions from api_keys
      where key_hash = $1 and revoked_at is null and (expires_at is null or expires_at > now())`,
    values: [hashOf(key)],
  });
  const row = rows[0];
  if (row === undefined) return null;
  return {
    apiKeyId: idFromUuid('apiKey', row.id),
    projectId: idFromUuid('project', row.project_id),
    permissions: new Set(row.permissions.filter(isPermission)),
  };
}

/** Revokes the key for good and gives it, or null when the project has none such. Again changes nothing. */
export async function revokeApiKey(db: Database, projectId: ProjectId, apiKeyId: ApiKeyId): Promise<ApiKey | null> {
  const key = { id: uuidOf(apiKeyId), projectId: uuidOf(projectId) };
  await db.prisma.apiKey.updateMany({ where: { ...key, revokedAt: null }, data: { revokedAt: new Date() } });
  return await db.prisma.apiKey.findFirst({ where: key });
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
