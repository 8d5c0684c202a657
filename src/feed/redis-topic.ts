import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { coalesce } from '../coalesce.ts';
import type { ProjectId } from '../domain/ids.ts';
import { cursorExpired, cursorText } from './cursor.ts';
import type { FeedPosition, LogState } from './cursor.ts';
import type { FeedSource } from './feed-reader.ts';
import { FeedTopic } from './feed-topic.ts';
import { FeedError } from './feed.ts';
import type { FeedItem } from './feed.ts';
import { readLog, readLogState } from './redis-log.ts';
import type { Announcement, RedisLogSettings } from './redis-log.ts';

/** Items of one page read from the log. */
const pageLength = 100;
/** Wait before a log that did not answer is asked again. */
const retryDelayMs = 200;

export interface RedisTopicOptions {
  commands: Redis;
  log: RedisLogSettings;
  /** Items kept in memory per topic. */
  ringSize: number;
  onError: (error: unknown) => void;
}

/**
 * One project's feed as this process follows it: announcements fill the memory, the log answers for everything else.
 * Whatever was missed (a hole, a lost connection) needs no repair but to learn how far the log has come.
 */
export class RedisTopic implements FeedSource {
  /**
   * Reads the log's state, no sooner than the call, and learns from it. One read at a time, so that what is learnt never
   * goes back to an older epoch; concurrent calls share one. Rejects when the server does not answer.
   */
  readonly sync: () => Promise<LogState>;
  readonly #projectId: ProjectId;
  readonly #options: RedisTopicOptions;
  readonly #memory: FeedTopic;
  readonly #closing = new AbortController();
  /** Reads of the log under way, by the cursor they start after: readers at one place share them. */
  readonly #pages = new Map<string, Promise<readonly FeedItem[]>>();
  #stale = false;
  #refreshing = false;

  constructor(projectId: ProjectId, options: RedisTopicOptions) {
    this.#projectId = projectId;
    this.#options = options;
    this.#memory = new FeedTopic(options.ringSize, '', 0); // no epoch is empty: the first sync brings one
    const sync = coalesce(async (calls: null[]) => {
      const state = await readLogState(options.commands, options.log, projectId);
      this.#memory.learn(state.epoch, state.head);
      return calls.map(() => state);
    });
    this.sync = async () => await sync(null);
  }

  /** Takes what the channel announced. Only `sync` may change the epoch: a late message of an old one must not. */
  take(announcement: Announcement): void {
    if (announcement.epoch === this.#memory.epoch) this.#memory.append(announcement.first, announcement.entries);
    else this.refresh();
  }

  /** Learns how far the log has come, as soon as the server answers. */
  refresh(): void {
    this.#stale = true;
    if (this.#refreshing) return;
    this.#refreshing = true;
    void this.#syncWhileStale();
  }

  read(position: FeedPosition): FeedItem | null | Promise<readonly FeedItem[]> {
    const found = this.#memory.read(position);
    if (found === 'LOG') return this.#readPage(position);
    return found === 'LATER' ? null : found;
  }

  onceChanged(wake: () => void): () => void {
    return this.#memory.onceChanged(wake);
  }

  /** The log cannot be asked: everyone who reads is told, until it has been asked again. */
  fail(error: FeedError): void {
    this.#memory.fail(error);
  }

  /** Stops asking the log. */
  close(): void {
    this.#closing.abort();
  }

  async #syncWhileStale(): Promise<void> {
    while (this.#stale && !this.#closing.signal.aborted) {
      this.#stale = false;
      try {
        await this.sync();
      } catch (error) {
        this.#stale = true;
        await this.#pauseAfter(error);
      }
    }
    this.#refreshing = false;
  }

  async #readPage(position: FeedPosition): Promise<readonly FeedItem[]> {
    const cursor = cursorText(position.epoch, position.n);
    const shared = this.#pages.get(cursor);
    if (shared !== undefined) return await shared;
    const reading = this.#readPageFrom(position).finally(() => this.#pages.delete(cursor));
    this.#pages.set(cursor, reading);
    return await reading;
  }

  /** While the server does not answer readers wait (an empty page has them ask again): their cursors may still be good. */
  async #readPageFrom(position: FeedPosition): Promise<readonly FeedItem[]> {
    const { commands, log } = this.#options;
    try {
      const range = { from: position.n + 1, count: pageLength };
      const { state, items } = await readLog(commands, log, this.#projectId, range);
      if (state.epoch !== position.epoch) this.refresh();
      // Numbers rise, so the page has no hole exactly when its last item has the number that its length gives it.
      if (items.at(-1)?.cursor !== cursorText(position.epoch, position.n + items.length)) throw cursorExpired(position);
      return items;
    } catch (error) {
      if (error instanceof FeedError) throw error;
      await this.#pauseAfter(error);
      return [];
    }
  }

  async #pauseAfter(error: unknown): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#options.onError(error);
    try {
      await delay(retryDelayMs, undefined, { signal: this.#closing.signal, ref: false });
    } catch {
      // The topic was closed, which both callers look at next.
    }
  }
}
