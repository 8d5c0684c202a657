import type { Queryable } from './pipelines.ts';
import { uuidOf } from '../domain/ids.ts';
import type { ProjectId } from '../domain/ids.ts';

/** How many of the projects there are not. */
export async function countMissingProjects(database: Queryable, projectIds: readonly ProjectId[]): Promise<number> {
  const { rows } = await database.query<{ count: number }>({
    text: `select count(*)::int as count from unnest($1::uuid[]) as given(id)
           where not exists (select from projects p where p.id = given.id)`,
    values: [projectIds.map(uuidOf)],
  });
  return rows[0]?.count ?? 0;
}
