import { randomUUID } from 'node:crypto';
import { startRoleGateway } from './gateway-role.ts';
import { dependenciesOf } from './metrics/dependencies.ts';
import { createMetrics } from './metrics/metrics.ts';
import { migrateQueue } from './queue-backend.ts';
import { migrate, requireMigrated } from './stack/migrate.ts';
import { checkWritable } from './store/database-away.ts';
import { openPipelines } from './store/pipelines.ts';
import { createSecretBox } from './store/secret-box.ts';
import { tellOutage } from './tell-outage.ts';
import { startWatchedQueue } from './watched-queue.ts';
import { startWatchedStack } from './watched-stack.ts';
import { startRoleWorker } from './worker-role.ts';
import type { Logger } from 'pino';
import type { Config } from './config.ts';
import type { ReadinessChecks } from './operations/readiness.ts';
import type { Database } from './store/database.ts';
import type { DatabaseOptions } from './store/pipelines.ts';
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
