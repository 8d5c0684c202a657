import { DatabaseError, type QueryConfig, type QueryResultRow } from 'pg';
import type { Database } from './database.ts';

/** Postgres’ name for a statement that it ended: here always for its time limit. */
const queryCanceled = '57014';

/** A read that looked at too many rows to end within its time limit. Nothing has happened; fewer rows would do. */
export class ReadLimitError extends Error {}

/** Runs one statement that may look at many rows. Throws a ReadLimitError when its time limit ended it. */
export async function readMany<Row extends QueryResultRow>(database: Database, statement: QueryConfig): Promise<Row[]> {
  try {
    const { rows } = await database.reads.query<Row>(statement);
    return rows;
  } catch (error) {
    if (!(error instanceof DatabaseError) || error.code !== queryCanceled) throw error;
    throw new ReadLimitError('a read took longer than its limit', { cause: error });
  }
}
