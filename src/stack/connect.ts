import { Client, DatabaseError } from 'pg';

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
    throw new Error(`The database at ${place} cannot be reached (${describe(error)}).`, { cause: error });
  }
}

/** Where a name has several addresses, Node reports all failures in one error that has a code and no message. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if ('code' in error && typeof error.code === 'string') return error.code;
  return error.message;
}
