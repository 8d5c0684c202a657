import type { ApiKey, Project } from '../../prisma/generated/client/client.ts';
import type { ProjectId } from '../domain/ids.ts';
import { uuidOf } from '../domain/ids.ts';
import { permissions } from '../domain/permissions.ts';
import { insertApiKey } from './api-keys.ts';
import { type Actor, recordAudit } from './audit.ts';
import type { Database } from './database.ts';
import { newId, newUuid } from './new-id.ts';

/** Creates a project. */
export async function createProject(db: Database, name: string): Promise<Project> {
  return await db.prisma.project.create({ data: { id: newUuid(), name } });
}

/** Creates a project with its first key, which may do everything; its text is shown now and never again. */
export async function createProjectWithKey(
  db: Database,
  { name, keyName, actor }: { name: string; keyName: string; actor: Actor },
): Promise<{ project: Project; apiKey: ApiKey; key: string }> {
  const projectId = newId('project');
  return await db.prisma.$transaction(async (tx) => {
    const project = await tx.project.create({ data: { id: uuidOf(projectId), name } });
    const { apiKey, key } = await insertApiKey(tx, projectId, { name: keyName, permissions, expiresAt: null });
    await recordAudit(tx, projectId, actor, { action: 'createProject', targetId: projectId });
    return { project, apiKey, key };
  });
}

/** Finds the project, or null. */
export async function findProject(db: Database, projectId: ProjectId): Promise<Project | null> {
  return await db.prisma.project.findUnique({ where: { id: uuidOf(projectId) } });
}
