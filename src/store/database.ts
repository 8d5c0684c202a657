import { PrismaPg } from '@prisma/adapter-pg';
import { PrismaClient } from '../../prisma/generated/client/client.ts';
import { FairTurns } from '../fair-turns.ts';
import { Pool } from 'pg';
import {
  connectionsMax,
  type DatabaseOptions,
  endWithinLimit,
  manyRowsPlanning,
  openPipelines,
  openPool,
  type Pipelines,
  poolLimits,
  surviveLosses,
} from './pipelines.ts';

// src/store: Postgres, the only truth. One exported function is one query or one transaction, named for its meaning, and
// takes the project right after the database. Ids are TypeIDs outside and native uuid inside; this folder translates.
// The schema, the gateway and the worker call it; it imports src/domain and the clients only.

/** The connections of one process. */
export interface Database extends Pipelines {
  /** Reads and administration. */
  prisma: PrismaClient;
  /** The connections of `prisma`, to be looked at only. */
  prismaPool: Pool;
  /** What a caller asks that may look at many rows: filtered pages, counts, statistics. Apart, so that none of it holds up an emit. */
  reads: Pool;
  /** Turns at these, by project. */
  readTurns: FairTurns;
}

/** Limit of one statement of Prisma's, in milliseconds. */
const prismaStatementMs = 5_000;
/** As many reads over many rows can be slow at once. A project holds half of them at most: the page of another one is never more than one statement away. */
const readTurns = { atOnceMax: connectionsMax.reads, perKeyMax: 2, waitingMax: 100, waitMsMax: 10_000 };

/** Opens everything; it connects on first use. A process that only delivers opens the pipelines alone: Prisma takes 40 MB. */
export function openDatabase(url: string, options: DatabaseOptions = {}): Database {
  const pipelines = openPipelines(url, options);
  const prismaPool = new Pool({ connectionString: url, max: connectionsMax.prisma, ...poolLimits(prismaStatementMs) });
  const prisma = new PrismaClient({
    adapter: new PrismaPg(surviveLosses(prismaPool, options), { disposeExternalPool: true }),
    // Prisma's own 2 s to get a connection are less than a burst of changes can take on a busy machine.
    transactionOptions: { maxWait: 10_000, timeout: 10_000 },
  });
  const { onUnknownOutcome: _nothingIsCommitted, ...ofReads } = options;
  const reads = openPool(url, { ...ofReads, max: connectionsMax.reads, planning: manyRowsPlanning });
  return {
    prisma,
    prismaPool,
    reads,
    readTurns: new FairTurns(readTurns),
    pipeline: pipelines.pipeline,
    upkeep: pipelines.upkeep,
    outage: pipelines.outage,
    [Symbol.asyncDispose]: async () => {
      await endWithinLimit(prisma.$disconnect(), reads.end(), pipelines[Symbol.asyncDispose]());
    },
  };
}
