import type { ApiKey } from '../../prisma/generated/client/client.ts';
import { apiKeysListedMax } from './api-keys.ts';
import { type ApiKeyId, idFromUuid, type ProjectId, uuidOf } from '../domain/ids.ts';
import type { Database } from './database.ts';

// API keys of all projects, for the operator at the command line alone: no caller of the API comes here.

/** Lists the keys of all projects, newest first, revoked and expired ones included; at most 1,000. */
export async function listEveryApiKey(db: Database): Promise<ApiKey[]> {
  return await db.prisma.apiKey.findMany({ orderBy: { id: 'desc' }, take: apiKeysListedMax });
}

/** Finds whose the key is, or null when there is no such key. */
export async function findProjectOfKey(db: Database, apiKeyId: ApiKeyId): Promise<ProjectId | null> {
  const key = await db.prisma.apiKey.findUnique({ where: { id: uuidOf(apiKeyId) }, select: { projectId: true } });
  return key === null ? null : idFromUuid('project', key.projectId);
}
