import { Client } from 'pg';
import { startEmbeddedPostgres } from '../../src/stack/embedded-postgres.ts';

// A process of its own for the tests of embedded Postgres: `node embedded-postgres-process.ts <data folder>` prints one line of
// JSON when the server runs, and at SIGINT or SIGTERM another one with what the server still answers, then stops it.

await using postgres = await startEmbeddedPostgres({ dataFolder: process.argv[2] ?? '' });
const client = new Client({ connectionString: postgres.url });
client.on('error', () => undefined);
await client.connect();
process.stdout.write(`${JSON.stringify({ url: postgres.url })}\n`);

await new Promise<void>((resolve) => {
  const keepAlive = setInterval(() => undefined, 60_000);
  const stop = (): void => {
    clearInterval(keepAlive);
    resolve();
  };
  process.once('SIGINT', stop);
  process.once('SIGTERM', stop);
});
const { rows } = await client.query<{ answer: number }>('select 42 as answer from pg_sleep(0.2)');
process.stdout.write(`${JSON.stringify({ answerAfterSignal: rows[0]?.answer })}\n`);
await client.end();
