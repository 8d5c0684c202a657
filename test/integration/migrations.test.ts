import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { migrate } from '../../src/stack/migrate.ts';
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from '../support/postgres.ts';

describe('migrate', () => {
  test('ten processes that start at once on an empty database apply each migration once', async () => {
    await using database = await createEmptyDatabase();
    const applied = await Promise.all(Array.from({ length: 10 }, () => migrate(database.url)));
    const names = (await readdir('prisma/migrations')).filter((name) => /^\d{14}_/.test(name)).sort();
    expect(applied.filter((own) => own.length > 0)).toEqual([names]);
    const client = await connectToDatabase(database.url);
    const { rows } = await client.query(
      'select migration_name, finished_at is not null as done from _prisma_migrations order by migration_name',
    );
    await client.end();
    expect(rows).toEqual(names.map((name) => ({ migration_name: name, done: true })));
  });

  test('a long query of the events keeps none but the migration waiting, and statements that do not know the new column go on', async () => {
    await using database = await createTestDatabase();
    const [reader, other] = [await connectToDatabase(database.url), await connectToDatabase(database.url)];
    await reader.query('alter table events drop column trace_parent');
    await reader.query(`delete from _prisma_migrations where migration_name like '%_trace_parent'`);
    const store = `insert into events (id, project_id, type, body, occurred_at)
      values (posthorn_uuid_v7(), posthorn_uuid_v7(), 'a', '{}', now()) returning id`;
    await reader.query('begin');
    await reader.query('select count(*) from events'); // holds its lock to the end of the transaction
    const migrating = migrate(database.url);
    const isWaiting = async (): Promise<boolean> =>
      (await other.query(`select from pg_locks where relation = 'events'::regclass and not granted`)).rowCount === 1;
    await expect.poll(isWaiting, { interval: 5, timeout: 10_000 }).toBe(true);
    const startedAt = performance.now();
    await other.query(store);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    await reader.query('commit');
    expect(await migrating).toEqual([expect.stringMatching(/_trace_parent$/)]);
    expect((await other.query(store)).rowCount).toBe(1);
    await Promise.all([reader.end(), other.end()]);
  });

  test('a migrated database is left as it is', async () => {
    await using database = await createTestDatabase();
    await expect(migrate(database.url)).resolves.toEqual([]);
  });

  test('an unreachable database is named by host and port, without its password', async () => {
    const failure = migrate('postgresql://posthorn:geheim@127.0.0.1:1/posthorn');
    await expect(failure).rejects.toThrow(
      'The database at 127.0.0.1:1 cannot be reached: nothing listens there (ECONNREFUSED).',
    );
    await expect(failure).rejects.not.toThrow('geheim');
  });

  test('a database that refuses the password is named without it', async () => {
    await using database = await createEmptyDatabase();
    const url = new URL(database.url);
    url.password = 'geheim';
    const failure = migrate(url.href);
    await expect(failure).rejects.toThrow(
      /refuses the connection: password authentication failed for user "postgres"\.$/,
    );
    await expect(failure).rejects.not.toThrow('geheim');
  });
});

describe('the migrated database', () => {
  let database: TestDatabase;
  beforeAll(async () => {
    database = await createTestDatabase();
  });
  afterAll(() => database[Symbol.asyncDispose]());

  async function query<Row extends object>(sql: string): Promise<Row[]> {
    const client = await connectToDatabase(database.url);
    try {
      return (await client.query<Row>(sql)).rows;
    } finally {
      await client.end();
    }
  }

  test('posthorn_uuid_v7 gives a new version 7 id of this millisecond for every row', async () => {
    const before = Date.now();
    const rows = await query<{ id: string }>('select posthorn_uuid_v7() as id from generate_series(1, 1000)');
    const after = Date.now();
    expect(new Set(rows.map((row) => row.id)).size).toBe(1_000);
    for (const { id } of rows) {
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
      const ms = Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16);
      expect(ms).toBeGreaterThanOrEqual(before);
      expect(ms).toBeLessThanOrEqual(after);
    }
  });

  test('posthorn_uuid_at gives the smallest version 7 id of a millisecond', async () => {
    const rows = await query(
      `select posthorn_uuid_at('2026-11-23T20:00:00.123999Z') as id, posthorn_uuid_at('1970-01-01T00:00:00Z') as first`,
    );
    const hex = Date.parse('2026-11-23T20:00:00.123Z').toString(16).padStart(12, '0');
    expect(rows).toEqual([
      {
        id: `${hex.slice(0, 8)}-${hex.slice(8)}-7000-8000-000000000000`,
        first: '00000000-0000-7000-8000-000000000000',
      },
    ]);
  });

  test('sweep_marks has its one row, before every id, and takes no second', async () => {
    await expect(query('select id, mark from sweep_marks')).resolves.toEqual([
      { id: 1, mark: '00000000-0000-0000-0000-000000000000' },
    ]);
    await expect(query(`insert into sweep_marks values (2, posthorn_uuid_v7())`)).rejects.toThrow(
      'sweep_marks_one_row',
    );
  });
});
