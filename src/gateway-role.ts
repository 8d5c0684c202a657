import { createAddressResolver } from '../worker/egress-addresses.ts';
import { createHostCheck } from '../worker/egress-host-check.ts';
import { createAdministration } from './administration.ts';
import { parseCidrs } from './domain/address-policy.ts';
import { isFeedAway } from './feed/feed.ts';
import { timeAdministration } from './metrics/schedule-metrics.ts';
import { QueueAwayError } from './queue-outage.ts';
import { operationsOf } from './service-parts.ts';
import { failFastWhileAway, mayPass } from './store/database-away.ts';
import { createEmitter } from './store/emit-event.ts';
import { createKeyCache } from './store/key-cache.ts';
import type { Logger } from 'pino';
import type { SchemaContext } from '../schema/context.ts';
import type { AccessGrant, AccessTokens } from './access-tokens.ts';
import type { ApiKeyId } from './domain/ids.ts';
import type { DeliveryQueue } from './queue.ts';
import type { ServiceParts } from './service-parts.ts';
import type { Database } from './store/database.ts';
import type { KeyCache } from './store/key-cache.ts';

/** What a process asks for that its database cannot do now, it may ask for again after so many seconds. */
const retryAfterSeconds = 2;
/** How long an item of a live subscription waits for the database, in milliseconds. */
const itemWaitMs = 60_000;

/** Starts the gateway. */
export async function startRoleGateway(
  shared: ServiceParts,
  database: Database,
): Promise<{ url: string } & AsyncDisposable> {
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

/** What the gateway has besides. */
interface GatewayParts extends ServiceParts {
  database: Database;
  keys: KeyCache;
  tokens: AccessTokens;
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

/** In how many seconds to ask again for what failed because the database is away or gave up; null for any other error. */
function findOutage(logger: Logger, database: Database, error: unknown): number | null {
  if (database.outage.failed(error)) return retryAfterSeconds;
  if (!mayPass(error)) return null;
  logger.warn({ err: error }, 'the database gave up a statement');
  return retryAfterSeconds;
}

/** What has waited for long enough goes on without. */
function ignoreTimeout(): void {}
