import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { migrate } from '../../src/stack/migrate.ts';
import { checkWritable, isDatabaseAway } from '../../src/store/database-away.ts';
import { openDatabase } from '../../src/store/database.ts';
import { inTransaction } from '../../src/store/pipelines.ts';
import { startMortalPostgres } from '../support/mortal-postgres.ts';
import { until } from '../support/gateway-fixture.ts';
import type { Database } from '../../src/store/database.ts';
import type { MortalPostgres } from '../support/mortal-postgres.ts';

let postgres: MortalPostgres;
let database: Database;
let told: string[];

beforeAll(async () => {
  postgres = await startMortalPostgres();
  await migrate(postgres.url);
  told = [];
  database = openDatabase(postgres.url, {
    statementTimeoutMs: 300,
    onOutage: { onBegin: () => void told.push('away'), onEnd: () => void told.push('back') },
  });
});
afterAll(async () => {
  await database?.[Symbol.asyncDispose]();
  await postgres?.[Symbol.asyncDispose]();
});
afterEach(() => void told.splice(0));

/** Every way in which the process asks. */
const asked: Record<string, () => Promise<unknown>> = {
  'a statement': async () => await database.pipeline.query('select 1'),
  'a transaction': async () =>
    await inTransaction(database, async (client) => await client.query({ text: 'select 1' })),
  'a read': async () => await database.reads.query('select 1'),
  'a look-up by Prisma': async () => await database.prisma.project.count(),
  'a change by Prisma': async () => await database.prisma.$transaction(async (tx) => await tx.project.count()),
  'a batch by Prisma': async () => await database.prisma.$transaction([database.prisma.project.count()]),
};

async function failureOf(name: string): Promise<unknown> {
  return await asked[name]?.().then(
    () => null,
    (error: unknown) => error,
  );
}

async function failures(names = Object.keys(asked)): Promise<Record<string, unknown>> {
  const found = await Promise.all(names.map(failureOf));
  return Object.fromEntries(names.map((name, index) => [name, found[index]]));
}

/** What failed, and was not taken for the database's being away. */
async function mistaken(names?: string[]): Promise<string[]> {
  return Object.entries(await failures(names))
    .filter(([, error]) => error === null || !isDatabaseAway(error))
    .map(([name, error]) => `${name}: ${String(error)} ${JSON.stringify(error)}`);
}

async function untilAllAnswer(): Promise<void> {
  await until(async () => Object.values(await failures()).every((error) => error === null), 15_000);
}

describe.each(['fast', 'immediate', 'kill'] as const)('a database that ends (%s)', (how) => {
  test('is known to be away by whatever is asked of it, and is asked again when it is back', async () => {
    await untilAllAnswer();
    const underWay = database.pipeline.query('select pg_sleep(0.25)').catch((error: unknown) => error);
    await postgres.end(how);
    expect(isDatabaseAway(await underWay)).toBe(true);
    expect(await mistaken()).toEqual([]);
    await postgres.start();
    await untilAllAnswer();
  });
});

test('an outage is told once when it begins and once when it is over, however much it fails', async () => {
  await postgres.end('immediate');
  for (const error of Object.values(await failures())) expect(database.outage.failed(error)).toBe(true);
  await until(() => told.length > 0);
  for (const error of Object.values(await failures())) expect(database.outage.failed(error)).toBe(true);
  await postgres.start();
  await until(() => !database.outage.isOn, 10_000);
  expect(told).toEqual(['away', 'back']);
  await untilAllAnswer();
});

test('one connection that is ended is no outage', async () => {
  const ended = database.pipeline.query('select pg_terminate_backend(pg_backend_pid())');
  const error: unknown = await ended.catch((reason: unknown) => reason);
  expect(database.outage.failed(error)).toBe(true);
  await until(() => !database.outage.isOn);
  expect(told).toEqual([]);
});

test('a database that is frozen fails what waits for it within its limits, and works on when it thaws', async () => {
  await postgres.pause();
  const found = await mistaken(['a statement', 'a transaction', 'a read']); // Prisma's limit is 11 s
  await postgres.resume();
  expect(found).toEqual([]);
  await untilAllAnswer();
});

test('a database that has no connection left is away, and gives them again when there are some', async () => {
  await postgres.end('fast');
  await postgres.start({ max_connections: '4', superuser_reserved_connections: '0' });
  await using others = openDatabase(postgres.url);
  const clients = await Promise.allSettled(Array.from({ length: 6 }, async () => await others.pipeline.connect()));
  const refusals = clients.filter((client) => client.status === 'rejected').map(({ reason }): unknown => reason);
  expect(refusals).not.toEqual([]);
  for (const refusal of refusals) expect(refusal).toMatchObject({ code: '53300' });
  expect(await mistaken()).toEqual([]);
  for (const client of clients) if (client.status === 'fulfilled') client.value.release(true);
  await until(async () => (await failureOf('a statement')) === null);
  await postgres.end('fast');
  await postgres.start();
  await untilAllAnswer();
});

test('a database that is no primary any more is away until it takes writes', async () => {
  await postgres.end('fast');
  await postgres.start({ default_transaction_read_only: 'on' });
  await until(async () => (await failureOf('a statement')) === null);
  await expect(checkWritable(database)).rejects.toThrow('the database takes no writes');
  const write: unknown = await database.pipeline
    .query('update sweep_marks set mark = mark')
    .catch((error: unknown) => error);
  expect(database.outage.failed(write)).toBe(true);
  const byPrisma: unknown = await database.prisma.project
    .create({ data: { id: '0193a4b0-0000-7000-8000-000000000000', name: 'No' } })
    .catch((error: unknown) => error);
  expect(isDatabaseAway(byPrisma)).toBe(true);
  await until(() => told.includes('away'));
  await postgres.end('fast');
  await postgres.start();
  await until(() => !database.outage.isOn, 10_000);
  await checkWritable(database);
});
