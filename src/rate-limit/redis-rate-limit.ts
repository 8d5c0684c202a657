import { createHash } from 'node:crypto';
import { Redis } from 'ioredis';
import { budgetLeft, budgetRequest, rateRequest } from '../domain/rate.ts';
import type { Budget, RateRequest } from '../domain/rate.ts';
import { within } from '../time-limit.ts';
import { createInProcessRateLimit } from './in-process-rate-limit.ts';
import type { RateGrant, RateLimit, Spending, SpendingLimit } from './rate-limit.ts';

export interface RedisRateLimitOptions {
  url: string;
  /** Begins every key; default `posthorn:rate`. */
  keyPrefix?: string;
  /** Limit of one command in milliseconds, after which this process limits by itself; default 250. */
  commandTimeoutMs?: number;
  /** Told at most once per second about failures of the server, which the rate limit itself survives. */
  onError: (error: unknown) => void;
}

/** Limit for the server to answer when the rate limit starts. */
const startLimitMs = 2_000;
/** Time between two questions whether a server that failed answers again. */
const probePauseMs = 250;
const reportPauseMs = 1_000;
const probeRequest = rateRequest(1, 0);

/**
 * The steps of `takeAtRate` on the server's clock, for the request ARGV[1...4]: interval, greatest lead, wanted, least. The state
 * of a key is the text `<atUs> <leadUs>`, the lead with all the digits of its number. It lives for a millisecond longer
 * than it matters, since the server counts its life from the millisecond that has begun. The answer is text because the
 * client's parser rounds large integers (9007199254740991 came out one higher).
 */
const takeScript = `
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, leadMax, wanted, least = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local lead = 0
local state = redis.call('GET', KEYS[1])
if state then
  local at, was = string.match(state, '^(%d+) (%S+)$')
  lead = math.min(math.max(0, was - math.max(0, now - at)), leadMax)
end
local grantable = math.max(0, math.floor((leadMax - lead) / interval + 1e-9))
local granted = grantable < least and 0 or math.min(wanted, grantable)
lead = lead + granted * interval
local lifeMs = math.ceil(lead / 1000) + 1
redis.call('SET', KEYS[1], string.format('%.0f %.17g', now, lead), 'PX', string.format('%.0f', lifeMs))
local wait = granted < wanted and math.ceil(lead + least * interval - leadMax) or 0
return { string.format('%.0f', granted), string.format('%.0f', wait), string.format('%.17g', lead) }
`;

const takeScriptHash = createHash('sha1').update(takeScript).digest('hex');

/**
 * A rate limit that any number of processes share through one Redis, on its clock. While the server is away or slow, this
 * process limits by itself, at the same rates, and goes back when the server answers. Rejects when it cannot be reached at
 * the start.
 */
export async function startRedisRateLimit(options: RedisRateLimitOptions): Promise<RateLimit & SpendingLimit> {
  const limit = new RedisRateLimit(options);
  try {
    await limit.connect();
    return limit;
  } catch (cause) {
    await limit[Symbol.asyncDispose]();
    const { host } = new URL(options.url); // without the password
    throw new Error(`the rate limit's Redis at ${host} cannot be reached: ${reasonOf(cause)}`, { cause });
  }
}

/** What the server grants, and the lead that it leaves. */
interface SharedTake extends RateGrant {
  leadUs: number;
}

class RedisRateLimit implements RateLimit, SpendingLimit {
  readonly #redis: Redis;
  readonly #keyPrefix: string;
  readonly #onError: (error: unknown) => void;
  /** Takes over without the server, and is told before what the server granted, so that it does not begin with a burst. */
  readonly #local = createInProcessRateLimit();
  #connectionError: unknown = null;
  #away = false;
  #probing = false;
  #probeAtMs = 0;
  #reportAtMs = 0;
  #closed = false;

  constructor(options: RedisRateLimitOptions) {
    const commandTimeoutMs = options.commandTimeoutMs ?? 250;
    this.#keyPrefix = options.keyPrefix ?? 'posthorn:rate';
    this.#onError = options.onError;
    this.#redis = new Redis(options.url, {
      lazyConnect: true,
      // A call fails at once while there is no connection, and is not sent later, when nobody waits for it any more.
      enableOfflineQueue: false,
      autoResendUnfulfilledCommands: false,
      maxRetriesPerRequest: 0,
      commandTimeout: commandTimeoutMs,
      // A connection that is open but dead gives no answer and no error; this closes it.
      socketTimeout: 2 * commandTimeoutMs,
      connectTimeout: startLimitMs,
      retryStrategy: (attempt) => Math.min(50 * attempt, 1_000),
    });
    this.#redis.on('error', (error: unknown) => {
      this.#connectionError = error;
      this.#report(error);
    });
  }

  /** Resolves when the server has answered; rejects with the reason when it does not. */
  async connect(): Promise<void> {
    try {
      await within(startLimitMs, 'it', this.#redis.connect());
      await this.#takeShared(this.#keyPrefix, probeRequest);
    } catch (error) {
      // The connection's own error says more than the command's, which only says that it was given up.
      throw this.#connectionError ?? error;
    }
  }

  async take(key: string, perSecond: number, wanted: number): Promise<RateGrant> {
    if (this.#closed) throw new Error('the rate limit is closed');
    const request = rateRequest(perSecond, wanted);
    const shared = await this.#takeSharedOrNull(`${this.#keyPrefix}:${key}`, request);
    if (shared === null) return await this.#local.take(key, perSecond, wanted);
    const { granted, waitMs } = shared;
    if (granted > 0) await this.#local.take(key, perSecond, granted);
    return { granted, waitMs };
  }

  async spend(key: string, budget: Budget, cost: number): Promise<Spending> {
    if (this.#closed) throw new Error('the rate limit is closed');
    const shared = await this.#takeSharedOrNull(`${this.#keyPrefix}:${key}`, budgetRequest(budget, cost));
    if (shared === null) return await this.#local.spend(key, budget, cost);
    const granted = shared.granted === cost;
    if (granted) await this.#local.spend(key, budget, cost);
    return { granted, waitMs: shared.waitMs, ...budgetLeft(budget, shared.leadUs) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // Lets calls under way end; a server that does not answer has until the command's limit.
    await this.#redis.quit().catch(() => {});
    this.#redis.disconnect();
    await this.#local[Symbol.asyncDispose]();
  }

  /** What the server grants; null while it is away, which one call after the pause finds out for all. */
  async #takeSharedOrNull(key: string, request: RateRequest): Promise<SharedTake | null> {
    if (this.#away) {
      void this.#probe();
      return null;
    }
    try {
      return await this.#takeShared(key, request);
    } catch (error) {
      this.#leaveServer(error);
      return null;
    }
  }

  async #takeShared(key: string, request: RateRequest): Promise<SharedTake> {
    const { intervalUs, leadUsMax, wanted, least } = request;
    const reply = await this.#runScript(1, key, intervalUs, leadUsMax, wanted, least);
    const [granted = NaN, waitUs = NaN, leadUs = NaN] = Array.isArray(reply) ? reply.map(Number) : [];
    if (!Number.isSafeInteger(granted) || !Number.isSafeInteger(waitUs) || !Number.isFinite(leadUs)) {
      throw new Error(`its script gave ${JSON.stringify(reply)}`);
    }
    return { granted, waitMs: waitUs / 1000, leadUs };
  }

  /** Sends the script's hash, and its text only to a server that has not seen it since its start. */
  async #runScript(...args: [keyCount: number, ...(string | number)[]]): Promise<unknown> {
    try {
      return await this.#redis.evalsha(takeScriptHash, ...args);
    } catch (error) {
      if (!reasonOf(error).startsWith('NOSCRIPT')) throw error;
      return await this.#redis.eval(takeScript, ...args);
    }
  }

  #leaveServer(error: unknown): void {
    this.#away = true;
    this.#probeAtMs = performance.now() + probePauseMs;
    this.#report(error);
  }

  /** Asks, beside the calls, whether the server does again what a take needs of it; a ping says less than that. */
  async #probe(): Promise<void> {
    if (this.#probing || performance.now() < this.#probeAtMs) return;
    this.#probing = true;
    try {
      await this.#takeShared(this.#keyPrefix, probeRequest);
      this.#away = false;
    } catch (error) {
      this.#leaveServer(error);
    } finally {
      this.#probing = false;
    }
  }

  #report(error: unknown): void {
    const nowMs = performance.now();
    // What fails because the limit is disposed is no trouble of its connection.
    if (this.#closed || nowMs < this.#reportAtMs) return;
    this.#reportAtMs = nowMs + reportPauseMs;
    this.#onError(new Error(`the rate limit's Redis failed: ${reasonOf(error)}`, { cause: error }));
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
