import { readdir } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Client } from 'pg';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { applyMigrations } from '../../src/stack/apply-migrations.ts';
import { migrate, readMigrations } from '../../src/stack/migrate.ts';
import { createEmptyDatabase, createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { deployByPrisma } from '../support/schema-engine.ts';

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

  test('Prisma agrees with it: the one finds nothing left to do after the other, and both record the same', async () => {
    await using ours = await createEmptyDatabase();
    await using theirs = await createEmptyDatabase();
    const migrations = await readMigrations();
    const names = migrations.map(({ name }) => name);
    await expect(migrate(ours.url)).resolves.toEqual(names);
    await expect(deployByPrisma(ours.url, migrations)).resolves.toEqual([]);
    await expect(deployByPrisma(theirs.url, migrations)).resolves.toEqual(names);
    await expect(migrate(theirs.url)).resolves.toEqual([]);
    const recorded = async ({ url }: TestDatabase): Promise<unknown[]> =>
      await queryOn(
        url,
        `select migration_name, checksum, applied_steps_count, logs, rolled_back_at from _prisma_migrations order by 1`,
      );
    expect(await recorded(ours)).toEqual(await recorded(theirs));
    const shape = `select column_name, data_type, character_maximum_length, is_nullable, column_default
      from information_schema.columns where table_name = '_prisma_migrations' order by 1`;
    expect(await queryOn(ours.url, shape)).toEqual(await queryOn(theirs.url, shape));
  });

  test('a migration that fails leaves nothing behind, says so, and those before it stay', async () => {
    await using database = await createEmptyDatabase();
    const migrations = [
      { name: '1_good', sql: 'create table good (id int)' },
      { name: '2_bad', sql: 'create table half (id int); select 1 / 0' },
    ];
    const apply = async (): Promise<string[]> => {
      const client = await connectToDatabase(database.url);
      try {
        return await applyMigrations(client, migrations);
      } finally {
        await client.end();
      }
    };
    const sentence = 'The migration 2_bad failed and left nothing behind: division by zero.';
    await expect(apply()).rejects.toThrow(sentence);
    await expect(apply()).rejects.toThrow(sentence);
    await expect(
      queryOn(database.url, `select to_regclass('good')::text, to_regclass('half')::text as half`),
    ).resolves.toEqual([{ to_regclass: 'good', half: null }]);
    migrations[1] = { name: '2_bad', sql: 'create table half (id int)' };
    await expect(apply()).resolves.toEqual(['2_bad']);
  });

  test('what another tool began and did not finish is named, with what to do', async () => {
    await using database = await createTestDatabase();
    await queryOn(database.url, `update _prisma_migrations set finished_at = null where migration_name like '%_api'`);
    await expect(migrate(database.url)).rejects.toThrow(
      /^The migration \d+_api was begun by another tool and has not ended: .* run `posthorn migrate` again\.$/,
    );
  });

  test('a migration that waits for a table lets the others by, and goes on when it is free', async () => {
    await using database = await createTestDatabase();
    const [reader, other, migrating] = await Promise.all(
      [1, 2, 3].map(async () => await connectToDatabase(database.url)),
    );
    if (reader === undefined || other === undefined || migrating === undefined) throw new Error('no connections');
    await reader.query('begin; select from events');
    const applied = applyMigrations(migrating, [{ name: '9_column', sql: 'alter table events add column probe text' }]);
    await untilWaiting(other, 'events');
    const askedAt = performance.now();
    await other.query('select from events');
    expect(performance.now() - askedAt).toBeLessThan(3_000);
    await reader.query('commit');
    await expect(applied).resolves.toEqual(['9_column']);
    for (const client of [reader, other, migrating]) await client.end();
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

async function queryOn(url: string, sql: string): Promise<unknown[]> {
  const client = await connectToDatabase(url);
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

/** Resolves when somebody waits for the whole table. */
async function untilWaiting(client: Client, table: string): Promise<void> {
  await vi.waitFor(
    async () => {
      const { rows } = await client.query('select from pg_locks where relation = $1::regclass and not granted', [
        table,
      ]);
      expect(rows.length).toBeGreaterThan(0);
    },
    { timeout: 10_000, interval: 20 },
  );
}

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
