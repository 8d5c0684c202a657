import type { Project } from '../../prisma/generated/client/client.ts';
import type { ProjectId } from '../domain/ids.ts';
import { uuidOf } from '../domain/ids.ts';
import type { Database } from './database.ts';
import { newUuid } from './new-id.ts';

/** Creates a project. */
export async function createProject(db: Database, name: string): Promise<Project> {
  return await db.prisma.project.create({ data: { id: newUuid(), name } });
}

/** Finds the project, or null. */
export async function findProject(db: Database, projectId: ProjectId): Promise<Project | null> {
  return await db.prisma.project.findUnique({ where: { id: uuidOf(projectId) } });
}
