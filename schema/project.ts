import type { Prisma } from '../prisma/generated/client/client.ts';
import { idFromUuid } from '../src/domain/ids.ts';
import { builder } from './builder.ts';
import { callerOf, projectUuidOf } from './caller.ts';
import { notFound } from './errors.ts';

/** The columns of a project. */
export const projectColumns = { id: true, name: true, createdAt: true } as const satisfies Prisma.ProjectSelect;

/** A row of them. */
export type ProjectRow = Prisma.ProjectGetPayload<{ select: typeof projectColumns }>;

/** The GraphQL type of projects. */
export const Project = builder.prismaObject('Project', {
  select: projectColumns,
  description: 'The tenant; everything belongs to exactly one.',
  interfaces: [builder.nodeInterfaceRef()],
  fields: (t) => ({
    id: t.id({ description: 'The id, `prj_…`.', resolve: (project) => idFromUuid('project', project.id) }),
    name: t.string({ description: 'What people call it.', resolve: (project) => project.name }),
    createdAt: t.field({ type: 'DateTime', description: 'When it was made.', resolve: (project) => project.createdAt }),
  }),
});

builder.queryField('project', (t) =>
  t.field({
    type: Project,
    needs: 'VIEW_WEBHOOKS',
    description: 'The project that the API key belongs to.',
    resolve: async (_root, _args, context) => {
      const project = await context.database.prisma.project.findUnique({
        select: projectColumns,
        where: { id: projectUuidOf(context) },
      });
      if (project === null) throw notFound('project', callerOf(context).projectId);
      return project;
    },
  }),
);
