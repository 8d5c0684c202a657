import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { loadSchemaEngine } from '../support/schema-engine.ts';

const schemaFile = join(import.meta.dirname, '..', '..', 'prisma', 'schema.prisma');

/** The SQL that would turn the database into schema.prisma, one statement per entry, without comments. */
async function diffToSchema(databaseUrl: string, datamodel: string): Promise<string[]> {
  await using session = await loadSchemaEngine(databaseUrl, datamodel);
  const { stdout } = await session.engine.diff({
    from: { tag: 'schemaDatasource', files: [{ path: 'schema.prisma', content: datamodel }], configDir: '' },
    to: { tag: 'schemaDatamodel', files: [{ path: 'schema.prisma', content: datamodel }] },
    script: true,
    exitCode: null,
    filters: { externalTables: [], externalEnums: [] },
  });
  return (stdout ?? '')
    .split(';')
    .map((statement) => statement.replaceAll(/^--.*$/gm, '').trim())
    .filter((statement) => statement !== '');
}

test('the migrated database is schema.prisma, without the foreign keys that the hot tables do without', async () => {
  await using database = await createTestDatabase();
  const statements = await diffToSchema(database.url, await readFile(schemaFile, 'utf8'));
  const foreignKey = /^ALTER TABLE "(\w+)" ADD CONSTRAINT "\w+" FOREIGN KEY \("(\w+)"\) REFERENCES "(\w+)"/;
  const left = statements.map((statement) => foreignKey.exec(statement)?.slice(1).join(' ') ?? statement);
  expect(left.sort()).toEqual([
    'attempts delivery_id deliveries',
    'deliveries event_id events',
    'deliveries project_id projects',
    'deliveries webhook_id webhooks',
    'events project_id projects',
  ]);
});

test('a column that schema.prisma does not have is found', async () => {
  await using database = await createTestDatabase();
  const client = await connectToDatabase(database.url);
  await client.query('alter table events add column stray text');
  await client.end();
  const statements = await diffToSchema(database.url, await readFile(schemaFile, 'utf8'));
  expect(statements.filter((statement) => statement.includes('stray'))).toHaveLength(1);
});

test('the indexes that Prisma cannot describe are there', async () => {
  await using database = await createTestDatabase();
  const client = await connectToDatabase(database.url);
  const { rows } = await client.query(
    `select indexname as name, substring(indexdef from 'USING.*') as definition from pg_indexes
     where schemaname = 'public' and indexdef like '%WHERE%' order by indexname`,
  );
  const { rows: fill } = await client.query(`select reloptions from pg_class where relname = 'deliveries'`);
  await client.end();
  expect(rows).toEqual([
    { name: 'deliveries_due', definition: 'USING btree (due_at) WHERE (due_at IS NOT NULL)' },
    { name: 'deliveries_held', definition: 'USING btree (webhook_id, id) WHERE held' },
    { name: 'recoveries_running', definition: "USING btree (id) WHERE (status = 'RUNNING'::recovery_status)" },
  ]);
  expect(fill).toEqual([{ reloptions: ['fillfactor=50'] }]);
});
