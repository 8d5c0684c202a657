import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from '../../prisma/generated/client/client.ts';
import { openPipelines, type DatabaseOptions, type Pipelines } from './pipelines.ts';

// src/store: Postgres, the only truth. One exported function is one query or one transaction, named for its meaning, and
// takes the project right after the database. Ids are TypeIDs outside and native uuid inside; this folder translates.
// The schema, the gateway and the worker call it; it imports src/domain and the clients only.

/** The connections of one process. */
export interface Database extends Pipelines {
  /** Reads and administration. */
  prisma: PrismaClient;
}

/** Opens everything; it connects on first use. A process that only delivers opens the pipelines alone: Prisma takes 40 MB. */
export function openDatabase(url: string, options: DatabaseOptions = {}): Database {
  const pipelines = openPipelines(url, options);
  const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: url, max: 8 }) });
  return {
    prisma,
    pipeline: pipelines.pipeline,
    upkeep: pipelines.upkeep,
    [Symbol.asyncDispose]: async () => {
      await Promise.all([prisma.$disconnect(), pipelines[Symbol.asyncDispose]()]);
    },
  };
}
