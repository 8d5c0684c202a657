import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { startEmbeddedPostgres } from '../../src/stack/embedded-postgres.ts';
import { migrate } from '../../src/stack/migrate.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** URL of the server's own database, to create and drop others from. */
    postgresUrl: string;
    /** Name of the migrated database that tests clone. */
    templateDatabase: string;
  }
}

interface TestPostgres extends AsyncDisposable {
  url: string;
  templateDatabase: string;
}

// The integration and e2e projects run in one process, and each loads this file for itself: what they share is global.
const shared: { postgres?: Promise<TestPostgres>; userCount?: number } = ((globalThis as Record<symbol, object>)[
  Symbol.for('posthorn.test-postgres')
] ??= {});

/** Starts the one Postgres of a test run with the migrated database that tests clone; it ends with the last project. */
export default async function setupPostgres(project: TestProject): Promise<() => Promise<void>> {
  shared.userCount = (shared.userCount ?? 0) + 1;
  shared.postgres ??= startPostgres();
  const postgres = await shared.postgres;
  project.provide('postgresUrl', postgres.url);
  project.provide('templateDatabase', postgres.templateDatabase);
  return async () => {
    shared.userCount = (shared.userCount ?? 0) - 1;
    if (shared.userCount === 0) await postgres[Symbol.asyncDispose]();
  };
}

async function startPostgres(): Promise<TestPostgres> {
  await using stack = new AsyncDisposableStack();
  const dataFolder = await mkdtemp(join(tmpdir(), 'posthorn-test-'));
  stack.defer(() => rm(dataFolder, { recursive: true, force: true }));
  const postgres = stack.use(
    await startEmbeddedPostgres({
      dataFolder,
      // Nothing here has to survive a power cut.
      settings: { max_connections: '300', fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' },
    }),
  );
  const templateDatabase = `template_${randomUUID().replaceAll('-', '')}`;
  const client = await connectToDatabase(postgres.url);
  await client.query(`create database ${templateDatabase}`);
  await client.end();
  const templateUrl = new URL(postgres.url);
  templateUrl.pathname = `/${templateDatabase}`;
  await migrate(templateUrl.href);
  const started = stack.move();
  return { url: postgres.url, templateDatabase, [Symbol.asyncDispose]: async () => await started.disposeAsync() };
}
