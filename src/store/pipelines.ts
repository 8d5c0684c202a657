import { Pool } from 'pg';
import { Outage } from '../outage.ts';
import { endsWithin } from '../time-limit.ts';
import { checkWritable, isDatabaseAway } from './database-away.ts';
import { watchUnknownOutcomes } from './unknown-outcomes.ts';
import type { OutageOptions } from '../outage.ts';
import type { PoolConfig, QueryConfig, QueryResult, QueryResultRow } from 'pg';

/** The connections of one process for SQL: all that a worker needs. */
export interface Pipelines extends AsyncDisposable {
  /** The hot path: emit, claim, park, record; statements that find rows by their keys, a few or hundreds. */
  pipeline: Pool;
  /** What runs now and then, over many rows: sweep, cleanup. */
  upkeep: Pool;
  /** Whether the database is away. Who is failed by it says so here. */
  outage: Outage;
}

/** What runs one statement: the pool, or a transaction on it. */
export interface Queryable {
  query<Row extends QueryResultRow>(statement: QueryConfig): Promise<QueryResult<Row>>;
}

export interface DatabaseOptions {
  /** Limit of one pipeline statement, default 5 s; the emit statement must end well before sweep's grace. */
  statementTimeoutMs?: number;
  /** Told of errors of idle connections; the pool replaces them by itself. */
  onIdleError?: (error: Error) => void;
  /** Told when the database goes away, and when it is back. */
  onOutage?: Pick<OutageOptions, 'onBegin' | 'onEnd'>;
  /** Told when something may have been committed though its statement has rejected (unknown-outcomes.ts). */
  onUnknownOutcome?: (error: Error) => void;
}

interface PoolOptions extends DatabaseOptions {
  /** Most connections. */
  max: number;
  /** Settings of each session, as `name=value`. */
  planning: readonly string[];
}

// Sessions that cached their plans on tables that were empty kept scanning them when they were large: 500 inserts did 500
// scans. The pipeline's statements have one good plan, key by key through indexes, and get no other: scans, and joins that
// would read a whole table or index, are not to be chosen. So that plan can be made once and kept; planning each time took
// 0.8 ms of an emit's 1.7 ms. None of these statements may join two of its own result sets: that would compare each with each.
const pipelinePlanning = [
  'plan_cache_mode=force_generic_plan',
  'enable_seqscan=off',
  'enable_hashjoin=off',
  'enable_mergejoin=off',
  'jit=off',
];
/** Over many rows the best plan depends on how many: it is made anew each time. */
export const manyRowsPlanning = ['plan_cache_mode=force_custom_plan', 'enable_seqscan=off', 'jit=off'];
/** The most connections of each pool of a process. The hot path's coalescers have one statement under way each. */
export const connectionsMax = { pipeline: 8, upkeep: 3, prisma: 8, reads: 4 } as const;

/** Opens the pools; they connect on first use. */
export function openPipelines(url: string, options: DatabaseOptions = {}): Pipelines {
  const pipeline = openPool(url, { ...options, max: connectionsMax.pipeline, planning: pipelinePlanning });
  const upkeep = openPool(url, { ...options, max: connectionsMax.upkeep, planning: manyRowsPlanning });
  const outage = new Outage({
    ...options.onOutage,
    isAway: isDatabaseAway,
    probe: async () => await checkWritable({ pipeline }),
  });
  return {
    pipeline,
    upkeep,
    outage,
    [Symbol.asyncDispose]: async () => {
      outage[Symbol.dispose]();
      await endWithinLimit(pipeline.end(), upkeep.end());
    },
  };
}

/** How long connections get to close, in milliseconds. */
const endLimitMs = 2_000;

/** Waits for pools to end, and leaves them to the process's own end when their server says nothing, as a frozen one does. */
export async function endWithinLimit(...ending: readonly PromiseLike<unknown>[]): Promise<void> {
  await endsWithin(endLimitMs, Promise.all(ending));
}

/** Opens a pool whose sessions plan as told; it connects on first use. */
export function openPool(url: string, options: PoolOptions): Pool {
  const { max, planning, statementTimeoutMs = 5_000 } = options;
  const pool = new Pool({
    connectionString: url,
    max,
    options: planning.map((setting) => `-c ${setting}`).join(' '),
    ...poolLimits(statementTimeoutMs),
  });
  return surviveLosses(pool, options);
}

/**
 * The limits of a pool whose statements may take so long. The server ends one that is slow; `query_timeout` ends one whose
 * server is silent (a lost route, a frozen machine), which would hold a coalescer, and with it every claim or record of the
 * process, until TCP gives up a quarter of an hour later.
 */
export function poolLimits(statementTimeoutMs: number): PoolConfig {
  return {
    statement_timeout: statementTimeoutMs,
    idle_in_transaction_session_timeout: statementTimeoutMs,
    query_timeout: 2 * statementTimeoutMs + 1_000,
    connectionTimeoutMillis: 5_000,
  };
}

/**
 * Lets the process outlive the loss of any of the pool's connections: the statement under way rejects with it, and
 * `onIdleError` is told when there was none, `onUnknownOutcome` when there was. A connection that has just been handed out, or is being closed, has no
 * listener of the pool's own, and an error event that nobody hears ends the process.
 */
export function surviveLosses(pool: Pool, { onIdleError, onUnknownOutcome }: DatabaseOptions): Pool {
  if (onUnknownOutcome !== undefined) watchUnknownOutcomes(pool, onUnknownOutcome);
  pool.on('error', (error) => onIdleError?.(error));
  pool.on('connect', (client) => client.on('error', ignoreLost));
  return pool;
}

/**
 * Runs the work in one transaction, of the pipeline pool unless said: all of it is committed, or, when it rejects,
 * nothing.
 */
export async function inTransaction<Result>(
  database: Pipelines,
  work: (transaction: Queryable) => Promise<Result>,
  pool: 'pipeline' | 'upkeep' = 'pipeline',
): Promise<Result> {
  const client = await database[pool].connect();
  let failure: Error | boolean = true;
  try {
    await client.query('begin');
    const result = await work(client);
    await client.query('commit');
    failure = false;
    return result;
  } catch (error) {
    if (error instanceof Error) failure = error;
    throw error;
  } finally {
    // The server rolls back what its connection no longer asks for; a connection in doubt is not used again.
    client.release(failure);
  }
}

function ignoreLost(): void {}
