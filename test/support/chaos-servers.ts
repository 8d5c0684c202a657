import { randomBytes } from 'node:crypto';
import { migrate } from '../../src/stack/migrate.ts';
import { startChaosRedis } from './chaos-redis.ts';
import type { ChaosRedis } from './chaos-redis.ts';
import { startMortalPostgres } from './mortal-postgres.ts';
import type { MortalPostgres } from './mortal-postgres.ts';

/** The servers below Posthorn, and the environment that names them. */
export interface ChaosServers extends AsyncDisposable {
  postgres: MortalPostgres;
  durable: ChaosRedis;
  volatile: ChaosRedis;
  env: Record<string, string>;
}

/** Most attempts under way in a worker at once. */
export const inFlightMax = 128;
/** As WEBHOOK_TIMEOUT says, in seconds. */
export const attemptTimeoutSeconds = 2;

/** Recovers in seconds; nobody is given up, and nobody is charged. */
const quick = {
  WEBHOOK_TIMEOUT: String(attemptTimeoutSeconds),
  WEBHOOK_MAX_RETRIES: '50',
  WEBHOOK_RETRY_SCHEDULE: '1,1,2',
  WEBHOOK_DISABLE_AFTER: '86400',
  WORKER_MAX_IN_FLIGHT: String(inFlightMax),
  SWEEP_INTERVAL: '0.5',
  SWEEP_GRACE: '2',
  POSTHORN_RATE_POINTS_PER_MINUTE: '0',
  LOG_LEVEL: 'warn',
};

/** Connections for two gateways, three workers and who looks at them; outlives a crash of the server, not of the machine. */
const postgresSettings = { max_connections: '300', shared_buffers: '128MB', full_page_writes: 'off' };

/** Starts a Postgres and two Redis servers as production has them, and migrates. */
export async function startChaosServers(): Promise<ChaosServers> {
  await using starting = new AsyncDisposableStack();
  const postgres = starting.use(await startMortalPostgres(postgresSettings));
  const durable = starting.use(await startChaosRedis({ appendonly: 'yes', 'maxmemory-policy': 'noeviction' }));
  const volatile = starting.use(await startChaosRedis({}));
  await migrate(postgres.url);
  const started = starting.move();
  const env = {
    HOST: '127.0.0.1',
    DATABASE_URL: postgres.url,
    REDIS_URI_DURABLE: durable.url,
    REDIS_URI_VOLATILE: volatile.url,
    POSTHORN_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    WEBHOOK_REQUIRE_HTTPS: 'false',
    WEBHOOK_ALLOWED_CIDRS: '127.0.0.0/8',
    ...quick,
  };
  return { postgres, durable, volatile, env, [Symbol.asyncDispose]: async () => await started.disposeAsync() };
}
