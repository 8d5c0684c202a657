import type { Redis } from 'ioredis';
import type { ProjectId } from '../domain/ids.ts';
import type { FeedError } from './feed.ts';
import { channelOf, parseAnnouncement } from './redis-log.ts';
import { generationChannel } from './redis-registry.ts';
import { RedisTopic } from './redis-topic.ts';
import type { RedisTopicOptions } from './redis-topic.ts';

/** A server that never sends anything on a dead connection is found out by asking it this often. */
const heartbeatMs = 10_000;

export interface RedisChannelsOptions extends RedisTopicOptions {
  /** Told of each generation that is announced. */
  onGeneration: (generation: number) => void;
}

interface Channel {
  topic: RedisTopic;
  readerCount: number;
  opened: Promise<unknown>;
}

/**
 * The topics that this process follows, each open while it has readers. Invariant: a topic syncs after every moment in
 * which its channel was not subscribed, so an announcement that was missed is always found in the log.
 */
export class RedisChannels {
  readonly #subscriber: Redis;
  readonly #options: RedisChannelsOptions;
  readonly #generationChannel: string;
  readonly #channels = new Map<string, Channel>();
  readonly #heartbeat: NodeJS.Timeout;

  /** `subscriber` must not resubscribe by itself: it would not say when the channels are live again. */
  constructor(subscriber: Redis, options: RedisChannelsOptions) {
    this.#subscriber = subscriber;
    this.#options = options;
    this.#generationChannel = generationChannel(options.log);
    subscriber.on('message', (name: string, text: string) => this.#take(name, text));
    subscriber.on('ready', () => void this.#resubscribe());
    this.#heartbeat = setInterval(() => this.#beat(), heartbeatMs).unref();
  }

  /** The project's topic, its channel live; `release` it when done. Rejects when the server does not answer. */
  async acquire(projectId: ProjectId): Promise<RedisTopic> {
    const name = channelOf(this.#options.log, projectId);
    const channel = this.#channels.get(name) ?? this.#open(name, projectId);
    channel.readerCount += 1;
    try {
      await channel.opened;
    } catch (error) {
      this.#release(name, channel);
      throw error;
    }
    return channel.topic;
  }

  /** Gives back what `acquire` gave; the last reader closes the topic. */
  release(projectId: ProjectId): void {
    const name = channelOf(this.#options.log, projectId);
    const channel = this.#channels.get(name);
    if (channel !== undefined) this.#release(name, channel);
  }

  /** Has every topic learn how far its log has come, as soon as the server answers. */
  refresh(): void {
    for (const { topic } of this.#channels.values()) topic.refresh();
  }

  /** Gives the error to everyone who reads, until their topics have been refreshed. */
  fail(error: FeedError): void {
    for (const { topic } of this.#channels.values()) topic.fail(error);
  }

  /** Closes every topic. */
  close(): void {
    clearInterval(this.#heartbeat);
    for (const { topic } of this.#channels.values()) topic.close();
    this.#channels.clear();
  }

  #open(name: string, projectId: ProjectId): Channel {
    const topic = new RedisTopic(projectId, this.#options);
    const channel: Channel = { topic, readerCount: 0, opened: this.#subscriber.subscribe(name) };
    this.#channels.set(name, channel);
    return channel;
  }

  #release(name: string, channel: Channel): void {
    channel.readerCount -= 1;
    if (channel.readerCount > 0 || this.#channels.get(name) !== channel) return;
    this.#channels.delete(name);
    channel.topic.close();
    this.#unsubscribe(name);
  }

  #take(name: string, text: string): void {
    if (name === this.#generationChannel) return this.#options.onGeneration(Number(text));
    const channel = this.#channels.get(name);
    if (channel === undefined) {
      // Subscribed by a command that was given up and then sent after all, or not yet unsubscribed: asking twice is harmless.
      this.#unsubscribe(name);
      return;
    }
    try {
      channel.topic.take(parseAnnouncement(text));
    } catch (error) {
      this.#options.onError(error);
    }
  }

  async #resubscribe(): Promise<void> {
    const channels = new Map(this.#channels);
    try {
      await this.#subscriber.subscribe(this.#generationChannel, ...channels.keys());
      for (const { topic } of channels.values()) topic.refresh();
    } catch (error) {
      this.#options.onError(error);
      // A connection that is up but does not subscribe is of no use: the next one tries again.
      if (this.#subscriber.status === 'ready') this.#subscriber.disconnect(true);
    }
  }

  #beat(): void {
    if (this.#subscriber.status === 'ready') this.#subscriber.ping().catch(this.#options.onError);
  }

  #unsubscribe(name: string): void {
    if (this.#subscriber.status === 'end') return;
    this.#subscriber.unsubscribe(name).catch(this.#options.onError);
  }
}
