import { createAddressResolver } from '../worker/egress-addresses.ts';
import { createHostCheck } from '../worker/egress-host-check.ts';
import { retryStuck } from '../worker/sweep.ts';
import { startWorker } from '../worker/worker.ts';
import { parseCidrs } from './domain/address-policy.ts';
import { logFinding } from './log-finding.ts';
import { migrateQueue } from './queue-backend.ts';
import { startDeliveryQueue } from './queue.ts';
import { migrate, requireMigrated } from './stack/migrate.ts';
import { startStack } from './stack/stack.ts';
import { cleanup } from './store/cleanup.ts';
import { createEmitter } from './store/emit-event.ts';
import { createKeyCache } from './store/key-cache.ts';
import { openPipelines } from './store/pipelines.ts';
import { createSecretBox } from './store/secret-box.ts';
import type { Logger } from 'pino';
import type { SchemaContext } from '../schema/context.ts';
import type { AccessGrant, AccessTokens } from './access-tokens.ts';
import type { Config } from './config.ts';
import type { ApiKeyId } from './domain/ids.ts';
import type { DeliveryQueue } from './queue.ts';
import type { Stack } from './stack/stack.ts';
import type { Database } from './store/database.ts';
import type { DatabaseOptions, Pipelines } from './store/pipelines.ts';
import type { KeyCache } from './store/key-cache.ts';
import type { SecretBox } from './store/secret-box.ts';

/** Which parts of Posthorn this process runs. */
export interface Roles {
  gateway: boolean;
  worker: boolean;
  /** Bring the database's schema up to date first; without it, one that is not is an error. */
  migrate: boolean;
}

/** A running process. */
export interface Service extends AsyncDisposable {
  /** Null without the gateway, which alone reads and administers. */
  database: Database | null;
  /** Where the gateway listens, as in `http://127.0.0.1:4000`; null without that role. */
  url: string | null;
}

/** The parts that gateway and worker share. */
interface Parts {
  config: Config;
  logger: Logger;
  stack: Stack;
  pipelines: Pipelines;
  secretBox: SecretBox;
  queue: DeliveryQueue;
}

/**
 * Starts the roles on the stack that the config asks for. A part that cannot start rejects with one clear sentence, and
 * what had started is stopped again. Disposing stops in the opposite order: first the edge, last the database.
 */
export async function startService(config: Config, roles: Roles, logger: Logger): Promise<Service> {
  await using starting = new AsyncDisposableStack();
  const stack = starting.use(
    await startStack(config, {
      onError: (error) => logger.warn({ err: error }, 'feed connection'),
      onFinding: (finding) => logFinding(logger, finding),
    }),
  );
  if (roles.migrate) {
    await migrate(stack.databaseUrl);
    await migrateQueue(stack.queueConnection);
  } else await requireMigrated(stack.databaseUrl);
  const databaseOptions: DatabaseOptions = {
    // The emit statement must end well before sweep looks at what it stored.
    statementTimeoutMs: Math.min(5_000, config.sweepGraceMs * 0.8),
    onIdleError: (error) => logger.warn({ err: error }, 'an idle database connection broke; the pool replaces it'),
    onUnknownOutcome: (error) => {
      logger.warn(
        { err: error },
        'nobody knows whether a statement was committed; if so, the lists show what the feed cannot',
      );
      stack.feed.expireCursors();
    },
  };
  const database = roles.gateway ? starting.use(await openWholeDatabase(stack.databaseUrl, databaseOptions)) : null;
  const pipelines = database ?? starting.use(openPipelines(stack.databaseUrl, databaseOptions));
  const secretBox = createSecretBox(stack.encryptionKeys);
  const onError = (error: Error): void => logger.warn({ err: error }, 'queue connection');
  const queue = starting.use(await startDeliveryQueue(stack.queueConnection, { onError }));
  const parts = { config, logger, stack, pipelines, secretBox, queue };
  if (roles.worker) starting.use(await startRoleWorker(parts));
  const gateway = database === null ? null : starting.use(await startRoleGateway(parts, database));
  const started = starting.move();
  return { database, url: gateway?.url ?? null, [Symbol.asyncDispose]: async () => await started.disposeAsync() };
}

/** And what the gateway has besides. */
interface GatewayParts extends Parts {
  database: Database;
  keys: KeyCache;
  tokens: AccessTokens;
}

/** Loads Prisma, which only the gateway needs. */
async function openWholeDatabase(url: string, options: DatabaseOptions): Promise<Database> {
  const { openDatabase } = await import('./store/database.ts');
  return openDatabase(url, options);
}

async function startRoleWorker({
  config,
  logger,
  stack,
  pipelines,
  secretBox,
  queue,
}: Parts): Promise<AsyncDisposable> {
  return await startWorker({
    database: pipelines,
    secretBox,
    queue,
    logger,
    feed: stack.feed,
    rateLimit: stack.rateLimit,
    queueConnection: stack.queueConnection,
    settings: {
      brand: config.brand,
      version: config.version,
      attemptTimeoutMs: config.attemptTimeoutMs,
      allowedCidrs: config.allowedCidrs,
      requireHttps: config.requireHttps,
      retryScheduleSeconds: config.retryScheduleSeconds,
      maxAttempts: config.maxAttempts,
      disableAfterMs: config.disableAfterMs,
      inFlightMax: config.inFlightMax,
      webhookInFlightMax: config.webhookInFlightMax,
      jobConcurrency: config.jobConcurrency,
      sweepIntervalMs: config.sweepIntervalMs,
      sweepGraceMs: config.sweepGraceMs,
      alone: stack.embedded,
    },
  });
}

async function startRoleGateway(shared: Parts, database: Database): Promise<{ url: string } & AsyncDisposable> {
  const { config, logger, stack, queue } = shared;
  // Loaded here and not at the top: a process that only delivers has no use for GraphQL, which takes 40 MB.
  const [{ startGateway }, { loadPersistedOperations }, { schema }, { createAccessTokens }, { createAuthenticate }] =
    await Promise.all([
      import('./gateway/gateway.ts'),
      import('./gateway/persisted-operations.ts'),
      import('../schema/index.ts'),
      import('./access-tokens.ts'),
      import('./authenticate.ts'),
    ]);
  const keys = createKeyCache(database);
  const tokens = createAccessTokens(stack.encryptionKeys);
  const { ratePointsPerMinute: pointsPerMinute, persistedOperations: path } = config;
  const gateway = await startGateway({
    schema,
    logger,
    host: config.host,
    port: config.port,
    authenticate: createAuthenticate(keys, tokens),
    adminKey: config.adminKey,
    createContext: contextFactory({ ...shared, database, keys, tokens }),
    rate: pointsPerMinute === null ? null : { limit: stack.rateLimit, pointsPerMinute },
    introspection: config.introspection,
    persistedOperations: path === null ? null : await loadPersistedOperations(path, schema),
    allowedOrigins: config.allowedOrigins,
    checks: {
      database: async () => void (await database.pipeline.query('select 1')),
      queue: async () => await queue.ping(),
      feed: async () => await stack.feed.ping(),
    },
  });
  keys.onForget((apiKeyId) => gateway.revoke(apiKeyId));
  return gateway;
}

/** Gives the function that fills a request's context. */
function contextFactory(parts: GatewayParts): (caller: SchemaContext['caller'], requestId: string) => SchemaContext {
  const { config, logger, stack, database, secretBox, queue, keys, tokens } = parts;
  const shared = {
    database,
    secretBox,
    feed: stack.feed,
    emitEvent: createEmitter(database, { maxAttempts: config.maxAttempts }),
    enqueue: async (...args: Parameters<DeliveryQueue['enqueue']>): Promise<void> => {
      await queue.enqueue(...args).catch((error: unknown) => {
        logger.warn({ err: error }, 'deliveries were not enqueued; sweep will find them');
      });
    },
    checkHost: createHostCheck(createAddressResolver(parseCidrs(config.allowedCidrs))),
    credentials: {
      issueAccessToken: async (grant: AccessGrant) => await tokens.issue(grant),
      forgetApiKey: (apiKeyId: ApiKeyId) => keys.forget(apiKeyId),
    },
    administration: {
      retryStuck: async (limit: number) => await retryStuck({ database, queue }, limit),
      cleanup: async (olderThan: Date, signal: AbortSignal) => await cleanup(database, { olderThan }, signal),
    },
    onWarning: (message: string, error: unknown): void => logger.warn({ err: error }, message),
    settings: {
      requireHttps: config.requireHttps,
      allowedCidrs: config.allowedCidrs,
      maxAttempts: config.maxAttempts,
      retryScheduleSeconds: config.retryScheduleSeconds,
      attemptTimeoutMs: config.attemptTimeoutMs,
    },
  };
  return (caller, requestId) => ({ ...shared, caller, requestId });
}
