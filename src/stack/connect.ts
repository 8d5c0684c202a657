import { Client, DatabaseError } from 'pg';
import { connectionReason } from './connection-reason.ts';

const connectLimitMs = 5_000;

/**
 * Opens one connection of its own; the caller ends it. Throws with one sentence that names the database, host and port and
 * never the password, when it does not answer within 5 s or refuses.
 */
export async function connectToDatabase(databaseUrl: string): Promise<Client> {
  const client = new Client({ connectionString: databaseUrl, connectionTimeoutMillis: connectLimitMs });
  // A connection that breaks later fails the query that runs then; without a listener it would end the process.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return client;
  } catch (error) {
    await client.end().catch(() => undefined); // It may never have been open.
    const place = `${client.host}:${client.port}`;
    if (error instanceof DatabaseError) {
      throw new Error(`The database ${client.database} at ${place} refuses the connection: ${error.message}.`, {
        cause: error,
      });
    }
    throw new Error(`The database at ${place} cannot be reached: ${connectionReason(error)}.`, { cause: error });
  }
}
