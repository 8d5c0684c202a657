import { Client, DatabaseError, Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { inTransaction } from '../../src/store/pipelines.ts';
import { watchUnknownOutcomes } from '../../src/store/unknown-outcomes.ts';
import { createTestDatabase } from '../support/postgres.ts';
import type { TestDatabase } from '../support/postgres.ts';

const sleep = 'select pg_sleep(60)';
/** A statement of the pools may take so long; a silent server is given up after 1,400 ms. */
const statementTimeoutMs = 200;

let server: TestDatabase;
let database: Database;
const unknown: Error[] = [];
let idleCount = 0;

beforeAll(async () => {
  server = await createTestDatabase();
  database = openDatabase(server.url, {
    statementTimeoutMs,
    onUnknownOutcome: (error) => unknown.push(error),
    onIdleError: () => void (idleCount += 1),
  });
});
afterAll(async () => {
  await database?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});
beforeEach(() => void unknown.splice(0));

/** Ends the sessions that run the statement, or all but ours, from a session of its own; gives how many. */
async function terminate(condition: string): Promise<number> {
  await using other = openDatabase(server.url);
  const { rows } = await other.pipeline.query(
    `select pg_terminate_backend(pid) from pg_stat_activity
     where datname = current_database() and pid <> pg_backend_pid() and ${condition}`,
  );
  return rows.length;
}

const statements: Record<string, () => Promise<unknown>> = {
  'of the hot path': async () =>
    await inTransaction(database, async (client) => {
      await client.query({ text: 'set local statement_timeout = 0' });
      await client.query({ text: sleep });
    }),
  'of upkeep': async () =>
    await inTransaction(
      database,
      async (client) => {
        await client.query({ text: 'set local statement_timeout = 0' });
        await client.query({ text: sleep });
      },
      'upkeep',
    ),
  'of Prisma': async () => await database.prisma.$queryRawUnsafe(sleep),
};

describe('what may have been committed is told', () => {
  test.each(Object.keys(statements))('when a connection is lost with a statement %s under way', async (which) => {
    const outcome = statements[which]?.().catch((error: unknown) => error);
    await vi.waitFor(async () => expect(await terminate(`state = 'active' and query like '%pg_sleep(60)%'`)).toBe(1));
    expect(await outcome).toBeInstanceOf(Error);
    await vi.waitFor(() => expect(unknown.length).toBeGreaterThan(0));
  });

  test('when a server falls silent', async () => {
    await expect(statements['of the hot path']?.()).rejects.toThrow('Query read timeout');
    expect(unknown).toMatchObject([{ message: 'Query read timeout' }]);
  });
});

/** Has a connection of a pool given back with an error of a server that speaks German, and gives whether that was told. */
function isToldOf(code: string, severity: string): boolean {
  const told: Error[] = [];
  const pool = new Pool();
  watchUnknownOutcomes(pool, (error) => told.push(error));
  const client = Object.assign(new Client(), { release: () => undefined });
  pool.emit('acquire', client);
  pool.emit('release', Object.assign(new DatabaseError('Meldung', 0, 'error'), { code, severity }), client);
  return told.length > 0;
}

test.each([
  ['23505', 'FEHLER', false],
  ['57014', 'FEHLER', false],
  ['57P01', 'FATAL', true],
  ['25P03', 'FATAL', true],
])('whether %s ended the session does not depend on the language of the server', (code, severity, told) => {
  expect(isToldOf(code, severity)).toBe(told);
});

describe('what was certainly not committed is not told', () => {
  test.each(['select 1 / 0', 'select pg_sleep(5)', 'no statement'])('when %j is refused', async (text) => {
    await expect(database.pipeline.query(text)).rejects.toMatchObject({ severity: 'ERROR' });
    await expect(inTransaction(database, async (client) => await client.query({ text }))).rejects.toMatchObject({
      severity: 'ERROR',
    });
    expect(unknown).toEqual([]);
  });

  test('when a connection is lost that only reads', async () => {
    const client = await database.reads.connect();
    await client.query('set statement_timeout = 0');
    const outcome = client.query('select pg_sleep(61)').catch((error: unknown) => error);
    await vi.waitFor(async () => expect(await terminate(`state = 'active' and query like '%pg_sleep(61)%'`)).toBe(1));
    const error = await outcome;
    client.release(error instanceof Error ? error : true);
    expect(error).toBeInstanceOf(Error);
    expect(unknown).toEqual([]);
  });

  test('when a connection is lost that nobody uses', async () => {
    await Promise.all([database.pipeline.query('select 1'), database.upkeep.query('select 1')]);
    const before = idleCount;
    expect(await terminate(`state = 'idle'`)).toBeGreaterThanOrEqual(2);
    await vi.waitFor(() => expect(idleCount).toBeGreaterThanOrEqual(before + 2));
    expect(unknown).toEqual([]);
  });
});
