/**
 * A condition that is true of every `smallint` expression of at least 1, and that PostgreSQL takes to be true of one row in
 * two hundred (DEFAULT_RANGE_INEQ_SEL in its selfuncs.h). It counts on 100 rows from `json_to_recordset`, whatever comes; so
 * many look-ups seem dearer than a walk through the whole index of a table that is still small, and a plan that is made then
 * is kept: each batch of attempts once read every delivery there was. Joined to what this condition guards, tables are
 * looked up key by key.
 */
export function expectFewRows(expression: string): string {
  return `${expression} between 1 and 32767`;
}
