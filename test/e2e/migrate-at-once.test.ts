import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { applyMigrations } from '../../src/stack/apply-migrations.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { readMigrations } from '../../src/stack/migrate.ts';
import { createStack } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { runPosthorn } from '../support/posthorn.ts';

const upToDate = 'The database is up to date.';

let stack: E2eStack;

beforeEach(async () => {
  stack = await createStack('postgres');
});

afterEach(async () => await stack[Symbol.asyncDispose]());

function databaseUrl(): string {
  return stack.env['DATABASE_URL'] ?? '';
}

async function query<Row>(sql: string): Promise<Row[]> {
  const client = await connectToDatabase(databaseUrl());
  try {
    const { rows } = await client.query(sql);
    return rows;
  } finally {
    await client.end();
  }
}

/** How `posthorn migrate` ended and what it said. */
async function runMigrate(): Promise<{ code: number | null; said: string }> {
  const running = runPosthorn(['migrate'], stack.env);
  const { code } = await running.ended;
  return { code, said: running.output().trim() };
}

async function expectMigratedOnce(): Promise<void> {
  const names = (await readMigrations()).map(({ name }) => name);
  expect(
    await query('select migration_name as name from _prisma_migrations where finished_at is not null order by 1'),
  ).toEqual(names.map((name) => ({ name })));
  const queue = await query<{ version: number }>('select version from posthorn_queue.migration order by 1');
  expect(queue.length).toBeGreaterThan(0);
  expect(new Set(queue.map(({ version }) => version)).size).toBe(queue.length);
}

test('ten `posthorn migrate` at once on an empty database: all end with 0, one applies, the queue has its tables', async () => {
  const results = await Promise.all(Array.from({ length: 10 }, runMigrate));
  expect(results.map(({ code }) => code)).toEqual(Array.from({ length: 10 }, () => 0));
  const names = (await readMigrations()).map(({ name }) => name);
  expect(results.map(({ said }) => said).filter((said) => said !== upToDate)).toEqual([
    `Applied: ${names.join(', ')}.`,
  ]);
  await expectMigratedOnce();
}, 120_000);

test('kill -9 in the middle of a migration leaves nothing of it, and the next `posthorn migrate` ends well', async () => {
  const [first, second, third] = await readMigrations();
  if (first === undefined || second === undefined || third === undefined) throw new Error('there are three at least');
  const writer = await connectToDatabase(databaseUrl());
  await applyMigrations(writer, [first, second]);
  await writer.query('select pg_advisory_unlock_all()');
  // The third adds foreign keys to this table: it has made types and tables by then, and waits for who writes here.
  await writer.query('begin; lock table projects in row exclusive mode');
  const killed = runPosthorn(['migrate'], stack.env);
  await vi.waitFor(
    async () => {
      const waiting = await query(`select from pg_locks where relation = 'projects'::regclass and not granted`);
      expect(waiting).toHaveLength(1);
    },
    { timeout: 20_000, interval: 20 },
  );
  killed.process.kill('SIGKILL');
  expect(await killed.ended).toEqual({ code: null, signal: 'SIGKILL' });
  await writer.query('commit');
  await writer.end();
  const { code, said } = await runMigrate();
  expect({ code, said }).toMatchObject({ code: 0, said: expect.stringContaining(`Applied: ${third.name}`) });
  await expectMigratedOnce();
});
