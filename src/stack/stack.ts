import { createInProcessFeed } from '../feed/in-process-feed.ts';
import { startRedisFeed } from '../feed/redis-feed.ts';
import { createInProcessRateLimit } from '../rate-limit/in-process-rate-limit.ts';
import { startRedisRateLimit } from '../rate-limit/redis-rate-limit.ts';
import { connectToDatabase } from './connect.ts';
import { startEmbeddedPostgres } from './embedded-postgres.ts';
import { loadEmbeddedEncryptionKeys } from './encryption-keys.ts';
import { judgeDurableRedis, judgeRedisPair, judgeVolatileRedis } from './judge-redis.ts';
import { judgePostgresVersion, loadPostgresVersion } from './postgres-version.ts';
import { readRedisFacts } from './redis-facts.ts';
import type { Config } from '../config.ts';
import type { EncryptionKey } from '../encryption-key.ts';
import type { Finding } from '../finding.ts';
import type { Feed } from '../feed/feed.ts';
import type { QueueConnection } from '../queue.ts';
import type { RateLimit, SpendingLimit } from '../rate-limit/rate-limit.ts';
import type { Secret } from '../secret.ts';

// src/stack: what a process stands on: the database, its migrations, where the queue is, the feed, and the rate limit.
// Invariant: whether Posthorn runs embedded or in production is decided here and nowhere else; all that follows sees a Stack.
// The composition root (src/service.ts, src/main.ts) calls it, and the tests' support code.

/** What a process stands on, ready to be used. Disposing it stops what it started itself. */
export interface Stack extends AsyncDisposable {
  /** Password included. */
  databaseUrl: string;
  queueConnection: QueueConnection;
  feed: Feed;
  rateLimit: RateLimit & SpendingLimit;
  /** Whether the database is the embedded one, so that this process is all there is. */
  embedded: boolean;
  /** The first encrypts. */
  encryptionKeys: readonly EncryptionKey[];
}

export interface StackOptions {
  /** Told about connection failures that the stack itself survives. */
  onError?: (error: unknown) => void;
  /** Told what was found out about the two Redis, good and bad. */
  onFinding?: (finding: Finding) => void;
}

/**
 * Starts the stack that the config asks for: an embedded Postgres with queue, feed and rate limit beside it, or the given servers.
 * Throws one sentence that names host and port, and no password, when a server does not answer or is too old a PostgreSQL. A
 * Redis that is not set up as it should be is told to `onFinding`. Does not migrate.
 */
export async function startStack(config: Config, options: StackOptions = {}): Promise<Stack> {
  await using starting = new AsyncDisposableStack();
  const embedded = config.databaseUrl === null;
  const databaseUrl =
    config.databaseUrl === null
      ? starting.use(await startEmbeddedPostgres({ dataFolder: config.dataFolder })).url
      : await reachable(config.databaseUrl);
  const encryptionKeys = config.encryptionKeys?.reveal() ?? (await loadEmbeddedEncryptionKeys(config.dataFolder));
  if (config.redis !== null) await checkRedis(config.redis, options);
  const feed = starting.use(await startFeed(config, options));
  const rateLimit = starting.use(await startRateLimit(config, options));
  const queueConnection: QueueConnection =
    config.redis === null
      ? { kind: 'postgres', url: databaseUrl }
      : { kind: 'redis', url: config.redis.durableUrl.reveal() };
  const started = starting.move();
  return {
    databaseUrl,
    queueConnection,
    feed,
    rateLimit,
    embedded,
    encryptionKeys,
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

async function reachable(url: Secret<string>): Promise<string> {
  const client = await connectToDatabase(url.reveal());
  try {
    const { status, message, remedy } = judgePostgresVersion(await loadPostgresVersion(client));
    if (status === 'ok') return url.reveal();
    throw new Error(`The database at ${client.host}:${client.port} cannot be used: ${message} ${remedy}`);
  } finally {
    await client.end();
  }
}

async function checkRedis(redis: NonNullable<Config['redis']>, { onFinding }: StackOptions): Promise<void> {
  const [durable, volatile] = await Promise.all([
    readRedisFacts('REDIS_URI_DURABLE', redis.durableUrl.reveal()),
    readRedisFacts('REDIS_URI_VOLATILE', redis.volatileUrl.reveal()),
  ]);
  const findings = [...judgeDurableRedis(durable), ...judgeVolatileRedis(volatile), judgeRedisPair(durable, volatile)];
  for (const finding of findings) onFinding?.(finding);
}

async function startFeed(config: Config, options: StackOptions): Promise<Feed> {
  if (config.redis === null) return createInProcessFeed();
  const onError = options.onError ?? ((): void => undefined);
  return await startRedisFeed({ url: config.redis.volatileUrl.reveal(), onError });
}

async function startRateLimit(config: Config, options: StackOptions): Promise<RateLimit & SpendingLimit> {
  if (config.redis === null) return createInProcessRateLimit();
  const onError = options.onError ?? ((): void => undefined);
  return await startRedisRateLimit({ url: config.redis.volatileUrl.reveal(), onError });
}
