import type { Queryable } from './pipelines.ts';

/** The database's time, which is one for all processes. */
export async function loadDatabaseNow(database: Queryable): Promise<Date> {
  const { rows } = await database.query<{ at: Date }>({ text: 'select clock_timestamp() as at' });
  const [row] = rows;
  if (row === undefined) throw new Error('Postgres did not say what time it is');
  return row.at;
}
