import { DatabaseError, type QueryConfig, type QueryResultRow } from 'pg';
import { NoTurnError } from '../fair-turns.ts';
import type { ProjectId } from '../domain/ids.ts';
import type { Database } from './database.ts';

/** Postgres’ name for a statement that it ended: here always for its time limit. */
const queryCanceled = '57014';

/**
 * A read that was not made to its end: it looked at too many rows for its time limit, and fewer would do; or its project
 * has too many others under way. Nothing has happened.
 */
export class ReadLimitError extends Error {
  /** Which of these it is. */
  readonly reason: 'too-long' | 'too-many-at-once';

  constructor(reason: 'too-long' | 'too-many-at-once', options: ErrorOptions) {
    super(`a read was given up: ${reason}`, options);
    this.reason = reason;
  }
}

/** Runs one statement that may look at many rows, when it is the project's turn. Throws a ReadLimitError. */
export async function readMany<Row extends QueryResultRow>(
  database: Database,
  projectId: ProjectId,
  statement: QueryConfig,
): Promise<Row[]> {
  try {
    const endTurn = await database.readTurns.take(projectId);
    try {
      const { rows } = await database.reads.query<Row>(statement);
      return rows;
    } finally {
      endTurn();
    }
  } catch (error) {
    if (error instanceof NoTurnError) throw new ReadLimitError('too-many-at-once', { cause: error });
    if (!(error instanceof DatabaseError) || error.code !== queryCanceled) throw error;
    throw new ReadLimitError('too-long', { cause: error });
  }
}
