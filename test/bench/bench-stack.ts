import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { migrateQueue } from '../../src/queue-backend.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { startEmbeddedPostgres } from '../../src/stack/embedded-postgres.ts';
import { migrate } from '../../src/stack/migrate.ts';
import { readPidFile } from '../../src/stack/postgres-server.ts';
import { startTestRedis } from '../support/redis.ts';

/** The servers that everything is measured on, in a temporary folder that goes with them. */
export interface BenchStack extends AsyncDisposable {
  postgresPid: number;
  redisPid: number;
  redisUrl: string;
  versions: { postgres: string; redis: string };
  /** Makes an empty, migrated database and empties Redis; disposing drops the database. */
  createDatabase: () => Promise<{ url: string } & AsyncDisposable>;
}

/** PostgreSQL as it comes, whatever the embedded stack prefers; only the connections are more. */
const postgresSettings = { shared_buffers: '128MB', max_wal_size: '1GB', max_connections: '200' };
const templateName = 'bench_template';

/** One encryption key for all processes of a run, as POSTHORN_ENCRYPTION_KEYS has it. */
export const encryptionKey = randomBytes(32);

export async function startBenchStack(): Promise<BenchStack> {
  await using starting = new AsyncDisposableStack();
  const dataFolder = await mkdtemp(path.join(tmpdir(), 'posthorn-bench-'));
  starting.defer(async () => await rm(dataFolder, { recursive: true, force: true, maxRetries: 5 }));
  const postgres = starting.use(await startEmbeddedPostgres({ dataFolder, settings: postgresSettings }));
  const { url: redisUrl } = starting.use(await startTestRedis());
  const redis = new Redis(redisUrl);
  starting.defer(() => redis.disconnect());
  const redisInfo = await redis.info('server');
  await administer(postgres.url, `create database ${templateName}`);
  const templateUrl = databaseUrl(postgres.url, templateName);
  await migrate(templateUrl);
  await migrateQueue({ kind: 'postgres', url: templateUrl });
  const started = starting.move();
  return {
    postgresPid: Number((await readPidFile(path.join(dataFolder, 'postgres')))[0]),
    redisPid: Number(/process_id:(\d+)/.exec(redisInfo)?.[1]),
    redisUrl,
    versions: {
      postgres: (await administer(postgres.url, 'show server_version'))['server_version'] ?? 'unknown',
      redis: /redis_version:([\d.]+)/.exec(redisInfo)?.[1] ?? 'unknown',
    },
    createDatabase: async () => {
      await redis.flushall();
      const name = `bench_${randomUUID().replaceAll('-', '')}`;
      await administer(postgres.url, `create database ${name} template ${templateName}`);
      return {
        url: databaseUrl(postgres.url, name),
        [Symbol.asyncDispose]: async () => {
          await administer(postgres.url, `drop database ${name} with (force)`);
        },
      };
    },
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

async function administer(url: string, statement: string): Promise<Record<string, string>> {
  const client = await connectToDatabase(url);
  try {
    const { rows } = await client.query<Record<string, string>>(statement);
    return rows[0] ?? {};
  } finally {
    await client.end();
  }
}

function databaseUrl(url: string, name: string): string {
  const other = new URL(url);
  other.pathname = `/${name}`;
  return other.href;
}
