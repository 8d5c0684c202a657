import { randomUUID } from 'node:crypto';
import { createAddressResolver } from '../worker/egress-addresses.ts';
import { createHostCheck } from '../worker/egress-host-check.ts';
import { startWorker } from '../worker/worker.ts';
import { createAdministration } from './administration.ts';
import { parseCidrs } from './domain/address-policy.ts';
import { isFeedAway } from './feed/feed.ts';
import { dependenciesOf } from './metrics/dependencies.ts';
import { createMetrics } from './metrics/metrics.ts';
import { timeAdministration } from './metrics/schedule-metrics.ts';
import { startOperationsServer } from './operations/operations-server.ts';
import { migrateQueue } from './queue-backend.ts';
import { tellOutage } from './tell-outage.ts';
import { QueueAwayError } from './queue-outage.ts';
import { migrate, requireMigrated } from './stack/migrate.ts';
import { startWatchedQueue } from './watched-queue.ts';
import { startWatchedStack } from './watched-stack.ts';
import { checkWritable, failFastWhileAway, mayPass } from './store/database-away.ts';
import { createEmitter } from './store/emit-event.ts';
import { createKeyCache } from './store/key-cache.ts';
import { openPipelines } from './store/pipelines.ts';
import { createSecretBox } from './store/secret-box.ts';
import type { Logger } from 'pino';
import type { SchemaContext } from '../schema/context.ts';
import type { AccessGrant, AccessTokens } from './access-tokens.ts';
import type { Config } from './config.ts';
import type { ApiKeyId } from './domain/ids.ts';
import type { Feed } from './feed/feed.ts';
import type { Metrics } from './metrics/metrics.ts';
import type { ReadinessChecks } from './operations/readiness.ts';
import type { Outage } from './outage.ts';
import type { DeliveryQueue } from './queue.ts';
import type { Stack } from './stack/stack.ts';
import type { Database } from './store/database.ts';
import type { DatabaseOptions, Pipelines } from './store/pipelines.ts';
import type { KeyCache } from './store/key-cache.ts';
import type { SecretBox } from './store/secret-box.ts';
import type { Tracer } from './tracing/tracer.ts';

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
  /** Where a worker alone answers those who run it; null without WORKER_PORT, and of a gateway, which does so at `url`. */
  operationsUrl: string | null;
}

/** The parts that gateway and worker share. */
interface Parts {
  config: Config;
  logger: Logger;
  stack: Stack;
  pipelines: Pipelines;
  secretBox: SecretBox;
  queue: DeliveryQueue;
  queueOutage: Outage;
  tracer: Tracer | null;
  /** The stack's, measured. */
  feed: Feed;
  metrics: Metrics;
  checks: ReadinessChecks;
}

/** What readiness may take, in milliseconds. */
const readyCheckMs = 2_000;
/** What a process asks for that its database cannot do now, it may ask for again after so many seconds. */
const retryAfterSeconds = 2;
/** How long an item of a live subscription waits for the database, in milliseconds. */
const itemWaitMs = 60_000;

/**
 * Starts the roles on the stack that the config asks for. A part that cannot start rejects with one clear sentence, and
 * what had started is stopped again. Disposing stops in the opposite order: first the edge, last the database.
 */
export async function startService(config: Config, roles: Roles, logger: Logger): Promise<Service> {
  await using starting = new AsyncDisposableStack();
  const stack = starting.use(await startWatchedStack(config, logger));
  if (roles.migrate) {
    await migrate(stack.databaseUrl);
    await migrateQueue(stack.queueConnection);
  } else await requireMigrated(stack.databaseUrl);
  const databaseOptions: DatabaseOptions = {
    // The emit statement must end well before sweep looks at what it stored.
    statementTimeoutMs: Math.min(5_000, config.sweepGraceMs * 0.8),
    // A restart of the database breaks all of them at once; what that means is told as its outage.
    onIdleError: (error) => logger.debug({ err: error }, 'an idle database connection broke; the pool replaces it'),
    onOutage: tellOutage(logger, 'database'),
    onUnknownOutcome: (error) => {
      logger.debug({ err: error }, 'nobody knows whether a statement was committed: the cursors of the feed expire');
      stack.feed.expireCursors();
    },
  };
  const database = roles.gateway ? starting.use(await openWholeDatabase(stack.databaseUrl, databaseOptions)) : null;
  const pipelines = database ?? starting.use(openPipelines(stack.databaseUrl, databaseOptions));
  const secretBox = createSecretBox(stack.encryptionKeys);
  const { queue, queueOutage } = starting.use(await startWatchedQueue(stack.queueConnection, logger));
  const metrics = createMetrics({ ...config, roles: namesOf(roles) });
  const checks: ReadinessChecks = {
    database: async () => await checkWritable(pipelines),
    queue: async () => await queue.ping(),
    feed: async () => await stack.feed.ping(),
  };
  const feed = metrics.meterFeed(stack.feed);
  const tracer = starting.use(await startTracer(config, logger));
  const parts = { config, logger, stack, pipelines, secretBox, queue, queueOutage, feed, metrics, checks, tracer };
  metrics.watch(dependenciesOf({ ...parts, database, graceMs: config.sweepGraceMs }));
  const worker = roles.worker ? starting.use(await startRoleWorker(parts, database === null)) : null;
  const gateway = database === null ? null : starting.use(await startRoleGateway(parts, database));
  const urls = { url: gateway?.url ?? null, operationsUrl: worker?.operationsUrl ?? null };
  const started = starting.move();
  return { database, ...urls, [Symbol.asyncDispose]: async () => await started.disposeAsync() };
}

function namesOf({ gateway, worker }: Roles): string {
  return [gateway ? 'gateway' : [], worker ? 'worker' : []].flat().join(',');
}

/** In how many seconds to ask again for what failed because the database is away or gave up; null for any other error. */
function findOutage(logger: Logger, database: Database, error: unknown): number | null {
  if (database.outage.failed(error)) return retryAfterSeconds;
  if (!mayPass(error)) return null;
  logger.warn({ err: error }, 'the database gave up a statement');
  return retryAfterSeconds;
}

/** What has waited for long enough goes on without. */
function ignoreTimeout(): void {}

/** And what the gateway has besides. */
interface GatewayParts extends Parts {
  database: Database;
  keys: KeyCache;
  tokens: AccessTokens;
}

/** Loads OpenTelemetry, which only those need who have a collector; null when there is none. */
async function startTracer(
  { tracing: settings, version }: Config,
  logger: Logger,
): Promise<(Tracer & AsyncDisposable) | null> {
  if (settings === null) return null;
  const { startOtlpTracer } = await import('./tracing/otlp-tracer.ts');
  return startOtlpTracer({
    settings,
    version,
    instanceId: randomUUID(),
    onFailing: (error) => logger.warn({ err: error }, 'the collector takes no traces; they are lost until it does'),
    onRecovered: () => logger.info('the collector takes traces again'),
  });
}

/** Loads Prisma, which only the gateway needs. */
async function openWholeDatabase(url: string, options: DatabaseOptions): Promise<Database> {
  const { openDatabase } = await import('./store/database.ts');
  return openDatabase(url, options);
}

/** Starts the worker. One that is alone has a port, where that is set: before it takes anything, and until it has ended. */
async function startRoleWorker(
  parts: Parts,
  isAlone: boolean,
): Promise<{ operationsUrl: string | null } & AsyncDisposable> {
  const { host, workerPort: port } = parts.config;
  await using starting = new AsyncDisposableStack();
  const operations =
    !isAlone || port === null
      ? null
      : starting.use(await startOperationsServer({ ...operationsOf(parts), readyCheckMs, host, port }));
  starting.use(await startTheWorker(parts));
  operations?.enter('serving');
  starting.defer(() => operations?.enter('stopping'));
  const started = starting.move();
  return {
    operationsUrl: operations?.url ?? null,
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

function operationsOf({ config, logger, metrics, checks }: Parts) {
  return { checks, logger, metrics: { page: metrics.page, token: config.metricsToken } };
}

async function startTheWorker({
  config,
  logger,
  stack,
  pipelines,
  secretBox,
  queue,
  queueOutage,
  tracer,
  feed,
  metrics,
}: Parts): Promise<AsyncDisposable> {
  return await startWorker({
    database: pipelines,
    secretBox,
    queue,
    queueOutage,
    logger,
    feed,
    meter: metrics.worker,
    rateLimit: stack.rateLimit,
    queueConnection: stack.queueConnection,
    tracing: { tracer, sendTraceparent: config.sendTraceparent },
    settings: {
      brand: config.brand,
      version: config.version,
      attemptTimeoutMs: config.attemptTimeoutMs,
      allowedCidrs: config.allowedCidrs,
      requireHttps: config.requireHttps,
      retryScheduleSeconds: config.retryScheduleSeconds,
      maxAttempts: config.maxAttempts,
      disableAfterMs: config.disableAfterMs,
      retentionDays: config.retentionDays,
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
  const { config, stack, metrics } = shared;
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
    ...operationsOf(shared),
    schema,
    meter: metrics.gateway,
    host: config.host,
    port: config.port,
    authenticate: failFastWhileAway(database, createAuthenticate(keys, tokens)),
    adminKey: config.adminKey,
    createContext: contextFactory({ ...shared, database, keys, tokens }),
    rate: pointsPerMinute === null ? null : { limit: stack.rateLimit, pointsPerMinute },
    introspection: config.introspection,
    persistedOperations: path === null ? null : await loadPersistedOperations(path, schema),
    allowedOrigins: config.allowedOrigins,
    tracer: shared.tracer,
    stopDelayMs: config.stopDelayMs,
    findOutage: (error) => findOutage(shared.logger, database, error),
    outageOver: async () => await database.outage.over(AbortSignal.timeout(itemWaitMs)).catch(ignoreTimeout),
  });
  keys.onForget((apiKeyId) => gateway.revoke(apiKeyId));
  return gateway;
}

/** Gives the function that fills a request's context. */
function contextFactory(parts: GatewayParts): (caller: SchemaContext['caller'], requestId: string) => SchemaContext {
  const { config, logger, database, secretBox, queue, feed, metrics, keys, tokens } = parts;
  const shared = {
    database,
    secretBox,
    feed,
    emitEvent: metrics.meterEmitter(createEmitter(database, { maxAttempts: config.maxAttempts })),
    enqueue: async (...args: Parameters<DeliveryQueue['enqueue']>): Promise<void> => {
      await queue.enqueue(...args).catch((error: unknown) => {
        if (error instanceof QueueAwayError) return; // told and counted as the queue's outage
        logger.warn({ err: error }, 'deliveries were not enqueued; sweep will find them');
      });
    },
    checkHost: createHostCheck(createAddressResolver(parseCidrs(config.allowedCidrs))),
    credentials: {
      issueAccessToken: async (grant: AccessGrant) => await tokens.issue(grant),
      forgetApiKey: (apiKeyId: ApiKeyId) => keys.forget(apiKeyId),
    },
    administration: createAdministration(config, { database, queue }),
    onWarning: (message: string, error: unknown): void => {
      if (!isFeedAway(error)) logger.warn({ err: error }, message);
    },
    settings: {
      requireHttps: config.requireHttps,
      allowedCidrs: config.allowedCidrs,
      maxAttempts: config.maxAttempts,
      retryScheduleSeconds: config.retryScheduleSeconds,
      attemptTimeoutMs: config.attemptTimeoutMs,
    },
  };
  const administration = timeAdministration(metrics.timeRun, shared.administration);
  return (caller, requestId) => ({ ...shared, administration, caller, requestId });
}
