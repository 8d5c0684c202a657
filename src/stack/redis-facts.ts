import { Redis } from 'ioredis';
import { within } from '../time-limit.ts';
import { connectionReason } from './connection-reason.ts';

/** What a Redis says of itself; null is what it does not let be asked, as managed ones may. */
export interface RedisFacts {
  /** As in `127.0.0.1:6379`, without the password. */
  place: string;
  version: string | null;
  /** A random name that the server has from its start to its end. */
  runId: string | null;
  database: number;
  /** As in `noeviction`. */
  evictionPolicy: string | null;
  /** How it keeps its data over a restart. */
  persistence: 'append-only file' | 'snapshots' | 'none' | null;
  /** What it holds, in bytes. */
  usedBytes: number | null;
  /** `maxmemory` in bytes; 0 is no limit. */
  maxBytes: number | null;
}

/** A server that has just started reads its data first, and answers after that. */
const readLimitMs = 10_000;
const connectLimitMs = 5_000;

/**
 * Connects to a Redis and reads what it says of itself. Throws one sentence that names the setting, host and port, and no
 * password, when it does not answer or refuses the connection.
 */
export async function readRedisFacts(setting: string, url: string): Promise<RedisFacts> {
  const redis = new Redis(url, {
    lazyConnect: true,
    maxRetriesPerRequest: 0,
    retryStrategy: () => null,
    connectTimeout: connectLimitMs,
    // One that is loading is asked again by the ready check; within the limit.
    maxLoadingRetryTime: 500,
  });
  const place = `${redis.options.host}:${redis.options.port}`;
  let connectionError: unknown = null;
  redis.on('error', (error: unknown) => (connectionError ??= error));
  try {
    await within(readLimitMs, 'it', redis.connect());
    // Commands are refused, not the connection, when the password is wrong or the database does not exist.
    await within(connectLimitMs, 'it', redis.ping());
    if (connectionError !== null) throw connectionError;
    return { place, ...(await within(connectLimitMs, 'it', askFacts(redis))) };
  } catch (cause) {
    // The connection's own error says more than the command's, which only says that it was given up.
    throw new Error(`The Redis of ${setting} at ${place} ${troubleOf(connectionError ?? cause)}.`, { cause });
  } finally {
    redis.disconnect();
  }
}

/** A reply that begins with a word in capitals is Redis's own refusal, such as `WRONGPASS …`. */
function troubleOf(error: unknown): string {
  const reason = connectionReason(error).replace(/\.$/, '');
  // Its own sentence is of the protocol's handshake and says nothing of passwords.
  if (reason.startsWith('NOAUTH ')) return 'asks for a password, and the URL has none';
  return /^[A-Z]{3,} /.test(reason) ? `refuses the connection: ${reason}` : `cannot be reached: ${reason}`;
}

async function askFacts(redis: Redis): Promise<Omit<RedisFacts, 'place'>> {
  const server = await findInfo(redis, 'server');
  const memory = await findInfo(redis, 'memory');
  return {
    version: server.get('redis_version') ?? null,
    runId: server.get('run_id') ?? null,
    database: redis.options.db ?? 0,
    evictionPolicy: memory.get('maxmemory_policy') ?? (await findSetting(redis, 'maxmemory-policy')),
    persistence: await findPersistence(redis),
    usedBytes: numberOrNull(memory.get('used_memory')),
    maxBytes: numberOrNull(memory.get('maxmemory')),
  };
}

function numberOrNull(text: string | undefined): number | null {
  return text === undefined ? null : Number(text);
}

/** Snapshots are on when there is any rule for when to make one. */
async function findPersistence(redis: Redis): Promise<RedisFacts['persistence']> {
  const appends = (await findInfo(redis, 'persistence')).get('aof_enabled');
  if (appends === '1') return 'append-only file';
  const rules = await findSetting(redis, 'save');
  if (rules === null) return null;
  return rules === '' ? 'none' : 'snapshots';
}

/** A section of INFO as names and values; empty when it may not be asked for. */
async function findInfo(redis: Redis, section: string): Promise<ReadonlyMap<string, string>> {
  const text = await redis.info(section).catch(nullWhenForbidden);
  const pairs = (text ?? '').matchAll(/^(\w+):(.*?)\r?$/gm);
  return new Map([...pairs].map(([, name = '', value = '']) => [name, value]));
}

async function findSetting(redis: Redis, name: string): Promise<string | null> {
  const reply: unknown = await redis.call('CONFIG', 'GET', name).catch(nullWhenForbidden);
  if (reply === null) return null;
  const value: unknown = Array.isArray(reply) ? reply[1] : undefined;
  return typeof value === 'string' ? value : null;
}

/** By an access rule, or because the command was renamed or is not there. */
function nullWhenForbidden(error: unknown): null {
  if (error instanceof Error && /^(NOPERM|ERR unknown (sub)?command)/i.test(error.message)) return null;
  throw error;
}
