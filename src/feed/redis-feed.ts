import { setImmediate as turn } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { RedisOptions } from 'ioredis';
import { coalesce } from '../coalesce.ts';
import { idFromUuid, type ProjectId } from '../domain/ids.ts';
import { parseCursor, startPosition } from './cursor.ts';
import { FeedReader } from './feed-reader.ts';
import { FeedError, feedUnavailable } from './feed.ts';
import type { Feed, FeedEntry, FeedSubscription, SubscribeOptions } from './feed.ts';
import { RedisChannels } from './redis-channels.ts';
import { appendToLog } from './redis-log.ts';
import type { RedisLogSettings } from './redis-log.ts';
import { RedisPresence } from './redis-presence.ts';

export interface RedisFeedOptions {
  url: string;
  /** Begins every key and channel; default `posthorn:feed`. */
  keyPrefix?: string;
  /** Items kept per project to resume from; default 10,000. */
  logLength?: number;
  /** Items kept in this process per project that is read; default 1,000. */
  ringSize?: number;
  /** Limit of one command in milliseconds; default 2,000. */
  commandTimeoutMs?: number;
  /** Time between two signs of life of who publishes, in milliseconds, and without them until it counts as dead; default 1,000 and 10,000. */
  beatMs?: number;
  lapseMs?: number;
  /** How long the server may be away until readers are told, in milliseconds; default 2,500. */
  awayMsMax?: number;
  /** Told about connection failures, which the feed itself survives. */
  onError: (error: unknown) => void;
}

/** Entries that one script appends; it holds the server for about 2 ms. A call with more is split. */
const entriesPerAppendMax = 1_000;
/** Calls that one flush takes. Large, so that behind a server that hangs a call waits for two time-outs at most. */
const callsPerFlushMax = 10_000;
const idleMs = 7 * 24 * 3_600_000;
/** How often an append is made again that came under an old generation; one that follows another at once is rare. */
const generationsMax = 5;

/** A feed that any number of processes share through one Redis. Rejects when the server cannot be reached. */
export async function startRedisFeed(options: RedisFeedOptions): Promise<Feed> {
  let connectionError: unknown = null;
  const onError = (error: unknown): void => {
    connectionError = error;
    options.onError(error);
  };
  const feed = new RedisFeed(options, onError);
  try {
    await feed.start();
    return feed;
  } catch (cause) {
    await feed[Symbol.asyncDispose]();
    const { host } = new URL(options.url); // without the password
    // The connection's own error says more than the command's, which only says that it was given up.
    throw new Error(`the feed's Redis at ${host} cannot be reached: ${reasonOf(connectionError ?? cause)}`, { cause });
  }
}

/** Stands where there is none; never published to. */
const noProject = idFromUuid('project', '00000000-0000-0000-0000-000000000000');

interface PublishCall {
  projectId: ProjectId;
  entries: readonly string[];
}

class RedisFeed implements Feed {
  readonly #commands: Redis;
  readonly #subscriber: Redis;
  readonly #log: RedisLogSettings;
  readonly #channels: RedisChannels;
  readonly #presence: RedisPresence;
  readonly #readers = new Set<FeedReader>();
  readonly #append: (call: PublishCall) => Promise<Error | null>;
  #closed = false;

  constructor(options: RedisFeedOptions, report: (error: unknown) => void) {
    // What fails because the feed is disposed is no trouble of its connections.
    const onError = (error: unknown): void => (this.#closed ? undefined : report(error));
    const { url, keyPrefix = 'posthorn:feed', logLength = 10_000, ringSize = 1_000 } = options;
    const connection = connectionOptions(options.commandTimeoutMs ?? 2_000);
    this.#log = { keyPrefix, logLength, idleMs, generation: () => this.#presence.generation };
    // A command whose answer was lost is not sent again: it may have been done, and twice would double the entries.
    this.#commands = new Redis(url, {
      ...connection,
      maxRetriesPerRequest: 0,
      autoResendUnfulfilledCommands: false,
    });
    this.#subscriber = new Redis(url, { ...connection, maxRetriesPerRequest: null, autoResubscribe: false });
    this.#commands.on('error', onError);
    this.#subscriber.on('error', onError);
    this.#channels = new RedisChannels(this.#subscriber, {
      commands: this.#commands,
      log: this.#log,
      ringSize,
      onError,
      onGeneration: (generation) => this.#presence.learn(generation),
    });
    this.#presence = new RedisPresence({
      redis: this.#commands,
      keyPrefix,
      idleMs,
      beatMs: options.beatMs ?? 1_000,
      lapseMs: options.lapseMs ?? 10_000,
      awayMsMax: options.awayMsMax ?? 2_500,
      onGeneration: () => this.#channels.refresh(),
      onGone: () => this.#channels.fail(feedUnavailable()),
      onBack: () => this.#channels.refresh(),
      onError,
    });
    this.#commands.on('ready', () => this.#presence.hurry());
    this.#append = coalesce(async (calls) => await this.#flush(calls), callsPerFlushMax);
  }

  /** Resolves when the server answers and this process is registered as one that publishes. */
  async start(): Promise<void> {
    await this.ping();
    await this.#presence.start();
  }

  async publish(projectId: ProjectId, entries: readonly FeedEntry[]): Promise<void> {
    if (this.#closed && entries.length > 0) this.#presence.lose(); // what it tells of is committed all the same
    this.#assertOpen();
    const appends: Promise<Error | null>[] = [];
    for (let start = 0; start < entries.length; start += entriesPerAppendMax) {
      const part = entries.slice(start, start + entriesPerAppendMax);
      appends.push(this.#append({ projectId, entries: part.map((entry) => JSON.stringify(entry)) }));
    }
    for (const failure of await Promise.all(appends)) if (failure !== null) throw failure;
  }

  expireCursors(): void {
    this.#presence.lose();
  }

  async subscribe(projectId: ProjectId, options: SubscribeOptions = {}): Promise<FeedSubscription> {
    this.#assertOpen();
    const after = options.after == null ? null : parseCursor(options.after);
    if (this.#presence.gone) throw feedUnavailable();
    const topic = await answered(this.#channels.acquire(projectId));
    try {
      const position = startPosition(await answered(topic.sync()), after);
      this.#assertOpen();
      const onEnd = (reader: FeedReader): void => {
        this.#readers.delete(reader);
        this.#channels.release(projectId);
      };
      const reader = new FeedReader(topic, position, onEnd, options.signal);
      if (options.signal?.aborted !== true) this.#readers.add(reader);
      return reader;
    } catch (error) {
      this.#channels.release(projectId);
      throw error;
    }
  }

  get subscriberCount(): number {
    return this.#readers.size;
  }

  async ping(): Promise<void> {
    this.#assertOpen();
    await Promise.all([this.#commands.ping(), this.#subscriber.ping()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const reader of this.#readers) reader.end();
    this.#channels.close();
    this.#subscriber.disconnect();
    // Lets publishes under way end; a server that does not answer has until the command's limit. Calls are flushed in order,
    // so one of nothing ends after all that came before it.
    await this.#append({ projectId: noProject, entries: [] });
    await turn(); // who waited for such a publish may have another one, which comes too late: that is told below
    await this.#presence[Symbol.asyncDispose]();
    await this.#commands.quit().catch(() => {});
    this.#commands.disconnect();
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error('the feed is closed');
  }

  /** Joins calls of one project into appends, which are sent without waiting for each other; says per call whether its append failed. */
  async #flush(calls: readonly PublishCall[]): Promise<(Error | null)[]> {
    const outcomes = new Map<PublishCall, Error | null>();
    const append = async (batch: readonly PublishCall[], projectId: ProjectId): Promise<void> => {
      const failure = await this.#appendBatch(projectId, batch);
      for (const call of batch) outcomes.set(call, failure);
    };
    const byProject = Map.groupBy(calls, (call) => call.projectId);
    const batches = [...byProject].flatMap(([projectId, group]) =>
      batchesOf(group).map((batch) => append(batch, projectId)),
    );
    await Promise.all(batches);
    return calls.map((call) => outcomes.get(call) ?? null);
  }

  async #appendBatch(projectId: ProjectId, batch: readonly PublishCall[]): Promise<Error | null> {
    const entries = batch.flatMap((call) => call.entries);
    if (entries.length === 0) return null;
    try {
      await this.#appendEntries(projectId, entries);
      return null;
    } catch (cause) {
      this.#presence.lose();
      this.#presence.leaveServer(cause);
      return new FeedError('UNAVAILABLE', `could not publish to the feed: ${reasonOf(cause)}`, { cause });
    }
  }

  async #appendEntries(projectId: ProjectId, entries: readonly string[]): Promise<void> {
    // Fails at once what would hold its caller up until the command's limit, and may be carried out after its loss was told.
    if (this.#presence.away) throw new Error('its server does not answer');
    for (let count = 0; count < generationsMax; count += 1) {
      const later = await appendToLog(this.#commands, this.#log, projectId, entries);
      if (later === null) return;
      this.#presence.learn(later);
    }
    throw new Error(`its generation has changed ${generationsMax} times meanwhile`);
  }
}

/** What the server answers. Rejects with FeedError UNAVAILABLE when it does not. */
async function answered<Answer>(asking: Promise<Answer>): Promise<Answer> {
  try {
    return await asking;
  } catch (cause) {
    throw cause instanceof FeedError ? cause : feedUnavailable(cause);
  }
}

/** Cuts the calls, in order, into batches of at most `entriesPerAppendMax` entries; a call is never cut. */
function batchesOf(calls: readonly PublishCall[]): PublishCall[][] {
  const batches: PublishCall[][] = [];
  let room = 0;
  for (const call of calls) {
    const last = batches.at(-1);
    if (last !== undefined && call.entries.length <= room) last.push(call);
    else {
      batches.push([call]);
      room = entriesPerAppendMax;
    }
    room -= call.entries.length;
  }
  return batches;
}

function connectionOptions(
  commandTimeoutMs: number,
): Pick<RedisOptions, 'commandTimeout' | 'socketTimeout' | 'connectTimeout' | 'retryStrategy'> {
  return {
    commandTimeout: commandTimeoutMs,
    // A connection that is open but dead gives no answer and no error; this closes it.
    socketTimeout: 2 * commandTimeoutMs,
    connectTimeout: commandTimeoutMs,
    retryStrategy: (attempt) => Math.min(50 * attempt, 1_000),
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
