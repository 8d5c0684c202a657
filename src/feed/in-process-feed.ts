import { setImmediate as turn } from 'node:timers/promises';
import { cursorExpired, createEpoch, parseCursor, startPosition } from './cursor.ts';
import type { FeedPosition } from './cursor.ts';
import { FeedReader } from './feed-reader.ts';
import { FeedTopic } from './feed-topic.ts';
import type { ProjectId } from '../domain/ids.ts';
import type { Feed, FeedEntry, FeedItem, FeedSubscription, SubscribeOptions } from './feed.ts';

export interface InProcessFeedOptions {
  /** Items kept per project to resume from; default 10,000. */
  logLength?: number;
  /** Projects kept that nobody reads; the one published to longest ago goes first, and its cursors expire. Default 32. */
  unreadTopicsMax?: number;
}

/** A feed within this process: its log is its memory, and ends with it. */
export function createInProcessFeed(options: InProcessFeedOptions = {}): Feed {
  return new InProcessFeed(options);
}

interface Log {
  topic: FeedTopic;
  readers: Set<FeedReader>;
}

class InProcessFeed implements Feed {
  readonly #logLength: number;
  readonly #unreadTopicsMax: number;
  /** The least recently published first. */
  readonly #logs = new Map<ProjectId, Log>();
  #unreadCount = 0;
  #closed = false;

  constructor(options: InProcessFeedOptions) {
    this.#logLength = options.logLength ?? 10_000;
    this.#unreadTopicsMax = options.unreadTopicsMax ?? 32;
  }

  async publish(projectId: ProjectId, entries: readonly FeedEntry[]): Promise<void> {
    this.#assertOpen();
    if (entries.length === 0) return;
    const log = this.#open(projectId);
    this.#logs.delete(projectId);
    this.#logs.set(projectId, log);
    log.topic.append(log.topic.head + 1, entries);
    this.#dropUnread();
    await turn(); // without it a loop of publishes would leave the readers no turn until they fell out of the log
  }

  async subscribe(projectId: ProjectId, options: SubscribeOptions = {}): Promise<FeedSubscription> {
    this.#assertOpen();
    const after = options.after == null ? null : parseCursor(options.after);
    const log = this.#open(projectId);
    const { epoch, first, head } = log.topic;
    try {
      const position = startPosition({ epoch, first, head }, after);
      return this.#startReader(log, position, options.signal);
    } finally {
      this.#forgetIfNew(projectId, log);
    }
  }

  get subscriberCount(): number {
    let count = 0;
    for (const log of this.#logs.values()) count += log.readers.size;
    return count;
  }

  /** Always answers, until the feed is disposed. */
  async ping(): Promise<void> {
    this.#assertOpen();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const log of this.#logs.values()) for (const reader of log.readers) reader.end();
    this.#logs.clear();
  }

  #assertOpen(): void {
    if (this.#closed) throw new Error('the feed is closed');
  }

  #open(projectId: ProjectId): Log {
    const known = this.#logs.get(projectId);
    if (known !== undefined) return known;
    const log: Log = { topic: new FeedTopic(this.#logLength, createEpoch(), 0), readers: new Set() };
    this.#logs.set(projectId, log);
    this.#unreadCount += 1;
    return log;
  }

  #startReader(log: Log, position: FeedPosition, signal: AbortSignal | undefined): FeedReader {
    const source = {
      read: (place: FeedPosition) => readMemory(log.topic, place),
      onceChanged: (wake: () => void) => log.topic.onceChanged(wake),
    };
    const reader = new FeedReader(source, position, (ended) => this.#forgetReader(log, ended), signal);
    if (signal?.aborted === true) return reader;
    if (log.readers.size === 0) this.#unreadCount -= 1;
    log.readers.add(reader);
    return reader;
  }

  #forgetReader(log: Log, reader: FeedReader): void {
    if (!log.readers.delete(reader) || log.readers.size > 0) return;
    this.#unreadCount += 1;
    this.#dropUnread();
  }

  /** A topic that was never published to and that nobody has read has given no cursor to keep it for. */
  #forgetIfNew(projectId: ProjectId, log: Log): void {
    if (log.topic.head === 0 && log.readers.size === 0) this.#drop(projectId);
  }

  #dropUnread(): void {
    for (const [projectId, log] of this.#logs) {
      if (this.#unreadCount <= this.#unreadTopicsMax) return;
      if (log.readers.size === 0) this.#drop(projectId);
    }
  }

  #drop(projectId: ProjectId): void {
    if (this.#logs.delete(projectId)) this.#unreadCount -= 1;
  }
}

function readMemory(topic: FeedTopic, position: FeedPosition): FeedItem | null {
  const found = topic.read(position);
  if (found === 'LOG') throw cursorExpired(position);
  return found === 'LATER' ? null : found;
}
