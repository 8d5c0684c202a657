import { isConnectionCode, someCause } from '../server-trouble.ts';
import type { Pipelines } from './pipelines.ts';

// SQLSTATE: connection exceptions; no connection, memory or disk left; shut down, crashed or not yet started; a primary that
// is one no longer (25006); a session that the server ended for idling. Source: PostgreSQL manual, appendix A.
const awayStates = /^(?:08...|53...|57P0[1-5]|25006|25P03)$/;
/** A statement that its limit ended, a deadlock, a conflict: done again, it may well succeed. */
const passingStates = /^(?:57014|55P03|40001|40P01)$/;
/** Prisma's: not reachable, no answer in time, closed, no connection or transaction in time, too many. */
const prismaAwayCodes = new Set(['P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2028', 'P2037']);
/** A transaction that met another. */
const prismaConflict = 'P2034';
// What pg says of its own connections has no code.
const driverTexts =
  /^(?:Connection terminated|timeout exceeded when trying to connect|timeout expired|Query read timeout|Client has encountered a connection error|Client was closed)/;

/**
 * Whether a failure says that the database is away: down, starting, out of connections, silent, or no primary any more. What
 * was asked may or may not have been done.
 */
export function isDatabaseAway(error: unknown): boolean {
  return someCause(error, ({ code, message }) => isAwayCode(code) || driverTexts.test(message));
}

/** Whether doing it again may succeed by itself: the database is away, or it gave up what took too long or met another. */
export function mayPass(error: unknown): boolean {
  if (isDatabaseAway(error)) return true;
  return someCause(error, ({ code }) => passingStates.test(code) || code === prismaConflict);
}

/** The database is known to be away, and was not asked. */
class DatabaseAwayError extends Error {
  /** SQLSTATE connection_failure. */
  readonly code = '08006';
}

/** Gives the look-up, which throws a DatabaseAwayError while the database is known to be away: nobody waits for a limit then. */
export function failFastWhileAway<Asked, Found>(
  { outage }: Pick<Pipelines, 'outage'>,
  lookUp: (asked: Asked) => Promise<Found>,
): (asked: Asked) => Promise<Found> {
  return async (asked) => {
    if (outage.isConfirmed) throw new DatabaseAwayError('the database is known to be away');
    return await lookUp(asked);
  };
}

/** Resolves when the database takes writes. A connection to one that does not is closed: the name may lead elsewhere by now. */
export async function checkWritable(database: Pick<Pipelines, 'pipeline'>): Promise<void> {
  const client = await database.pipeline.connect();
  let isWritable = false;
  try {
    const { rows } = await client.query<{ is_writable: boolean }>(
      `select not current_setting('transaction_read_only')::boolean as is_writable`,
    );
    isWritable = rows[0]?.is_writable === true;
  } finally {
    client.release(!isWritable);
  }
  if (!isWritable) throw new Error('the database takes no writes');
}

function isAwayCode(code: string): boolean {
  return awayStates.test(code) || isConnectionCode(code) || prismaAwayCodes.has(code);
}
