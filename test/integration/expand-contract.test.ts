import { beforeAll, describe, expect, test } from 'vitest';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { readMigrations } from '../../src/stack/migrate.ts';
import { applyMigrations } from '../../src/stack/apply-migrations.ts';
import type { Migration } from '../../src/stack/apply-migrations.ts';
import { landUnder, send } from '../support/old-pipeline.ts';
import { createEmptyDatabase } from '../support/postgres.ts';
import { readReleasedStatements } from '../support/released-statements.ts';
import type { ReleasedStatements } from '../support/released-statements.ts';

// Processes of the release before go on while a newer database lands under them. That their SQL still works is what
// "migrations expand in one release and contract in a later one" means.

/** A statement that waited longer than this waited for a migration's work, not for its place in the line. */
const lockWaitMsMax = 1_000;

let released: ReleasedStatements;
/** The release's migrations, and those that came since. */
let before: Migration[];
let newer: Migration[];

beforeAll(async () => {
  released = await readReleasedStatements();
  const all = await readMigrations();
  before = all.filter(({ name }) => released.migrations.includes(name));
  newer = all.filter(({ name }) => !released.migrations.includes(name));
});

test('the migrations of the release are all still there, before every newer one', async () => {
  const names = (await readMigrations()).map(({ name }) => name);
  expect(names.slice(0, released.migrations.length)).toEqual(released.migrations);
});

/** What of the release's SQL cannot be prepared on a database with these migrations; its inserts are made as well. */
async function prepareAll(
  { setup, statements }: ReleasedStatements,
  migrations: readonly Migration[],
): Promise<string[]> {
  await using database = await createEmptyDatabase();
  const client = await connectToDatabase(database.url);
  const failures: string[] = [];
  try {
    await applyMigrations(client, migrations);
    for (const statement of setup)
      await send(client, statement).catch((error: unknown) => failures.push(String(error)));
    for (const { text } of statements) {
      await client.query(`prepare released as ${text}`).then(
        async () => await client.query('deallocate released'),
        (error: unknown) => failures.push(`${text}: ${String(error)}`),
      );
    }
  } finally {
    await client.end();
  }
  return failures;
}

test('every statement of the release before can still be prepared, and what it inserts can still be inserted', async () => {
  expect(released.statements.length).toBeGreaterThan(40);
  await expect(prepareAll(released, [...before, ...newer])).resolves.toEqual([]);
});

describe('while migrations land under the release before', () => {
  test('the newer ones, and a column for each hot table: no emit, claim or record fails or waits for them', async () => {
    const columns = ['events', 'deliveries', 'attempts', 'webhooks'].map(
      (table) => `alter table ${table} add column probe text;`,
    );
    const probe = { name: '99999999999999_probe', sql: columns.join('\n') };
    const { failures, deliveredBefore, deliveredAfter, longestLockWaitMs } = await landUnder(released, {
      before,
      landing: [...newer, probe],
    });
    expect(failures).toEqual([]);
    expect(deliveredBefore).toBeGreaterThan(0);
    expect(deliveredAfter).toBeGreaterThan(0);
    expect(longestLockWaitMs).toBeLessThan(lockWaitMsMax);
  });

  test.each([
    'alter table events rename column occurred_at to happened_at',
    'alter table events add column region text not null default $$x$$; alter table events alter column region drop default',
    'alter table deliveries drop column held',
    'alter table attempts drop column tls_ms',
    'alter table webhooks drop column circuit_opened_at',
  ])('one that takes away what the release before needs is found: %s', async (sql) => {
    const migrations = { before, landing: [{ name: '99999999999999_contract', sql }] };
    const { failures } = await landUnder(released, migrations);
    const unprepared = await prepareAll(released, [...before, ...migrations.landing]);
    expect([...failures, ...unprepared]).not.toEqual([]);
  });

  test('one that works for long with a table locked is found', async () => {
    const sql = 'alter table deliveries add column probe text; select pg_sleep(1.5)';
    const { failures, longestLockWaitMs } = await landUnder(released, {
      before,
      landing: [{ name: '99999999999999_long', sql }],
    });
    expect(failures).toEqual([]);
    expect(longestLockWaitMs).toBeGreaterThan(lockWaitMsMax);
  });
});
