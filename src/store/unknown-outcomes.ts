import { DatabaseError } from 'pg';
import type { Pool, PoolClient } from 'pg';

/**
 * Tells when a connection of the pool was lost, or given up, with a statement under way: the statement rejects, and yet what
 * it did may have been committed. A statement that the server refuses has done nothing, and a connection that was idle had
 * nothing to do.
 */
export function watchUnknownOutcomes(pool: Pool, onUnknownOutcome: (error: Error) => void): void {
  const busy = new WeakSet<PoolClient>();
  pool.on('connect', (client) => {
    client.on('error', (error) => {
      if (busy.delete(client)) onUnknownOutcome(error);
    });
  });
  pool.on('acquire', (client) => void busy.add(client));
  pool.on('release', (error, client) => {
    if (busy.delete(client) && isUnknown(error)) onUnknownOutcome(error);
  });
}

/**
 * SQLSTATE: connection exceptions, a shutdown or crash, a session or transaction ended for its time, trouble of the server's
 * own. Not by `severity`, which a server says in its own language (`lc_messages`). Source: PostgreSQL manual, appendix A.
 */
const sessionEndStates = /^(?:08|57P|25P0[34]|58|XX)/;

/** Whether a connection was given back because its server fell silent or ended the session. */
function isUnknown(error: unknown): error is Error {
  if (error instanceof DatabaseError) return sessionEndStates.test(error.code ?? '');
  return error instanceof Error && error.message === 'Query read timeout'; // what pg says for `query_timeout`
}
