import type { AttemptErrorCode, AttemptTrigger, DeliveryStatus, FailureReason } from '../domain/delivery.ts';
import type { AttemptId, DeliveryId, EventId, ProjectId, WebhookId } from '../domain/ids.ts';

// src/feed: the live stream of delivery changes, one topic per project. Invariant: a subscriber sees every item after
// its cursor, in order, once; where that is impossible it gets FeedError CURSOR_EXPIRED instead of silence, also for what
// was committed and never published (redis-presence.ts says how). A subscription is only a position: it is pulled from memory or the log, so nothing is queued for a reader, however slow.
// The worker and the gateway publish; subscriptions read. Two implementations of this one contract:
// in-process-feed.ts and redis-feed.ts.

/** What changed. One item is published per committed change. */
export type FeedChange =
  | 'CREATED'
  | 'ATTEMPTED'
  | 'RETRY_SCHEDULED'
  | 'DELIVERED'
  | 'FAILED'
  | 'SKIPPED'
  | 'CANCELLED'
  | 'RESENT'
  | 'WEBHOOK_STATUS_CHANGED';

/** A delivery as it was right after the change. Instants are ISO 8601 text. */
export interface DeliverySnapshot {
  id: DeliveryId;
  eventId: EventId;
  webhookId: WebhookId;
  status: DeliveryStatus;
  attemptCount: number;
  maxAttempts: number;
  roundStart: number;
  trigger: AttemptTrigger;
  dueAt: string | null;
  failureReason: FailureReason | null;
  createdAt: string;
  finishedAt: string | null;
}

/** An attempt without its response headers and body, which are read from the store when somebody asks for them. */
export interface AttemptSnapshot {
  id: AttemptId;
  number: number;
  outcome: 'SUCCEEDED' | 'FAILED';
  trigger: AttemptTrigger;
  startedAt: string;
  durationMs: number;
  dnsMs: number | null;
  connectMs: number | null;
  tlsMs: number | null;
  firstByteMs: number | null;
  responseStatus: number | null;
  errorCode: AttemptErrorCode | null;
  errorMessage: string | null;
}

/** One change, as published. Plain JSON: it survives `JSON.parse(JSON.stringify(entry))` unchanged. */
export interface FeedEntry {
  change: FeedChange;
  /** When it was published, ISO 8601. */
  at: string;
  webhookId: WebhookId;
  /** Null for WEBHOOK_STATUS_CHANGED, as is `delivery`. */
  eventType: string | null;
  delivery: DeliverySnapshot | null;
  attempt: AttemptSnapshot | null;
}

/** A published change with its place in the feed; pass `cursor` to `subscribe` to go on right after it. */
export interface FeedItem {
  cursor: string;
  entry: FeedEntry;
}

export type FeedErrorCode = 'CURSOR_EXPIRED' | 'BAD_CURSOR' | 'UNAVAILABLE';

/**
 * Why a subscription cannot start or go on: the cursor's place is no longer kept (or its log was lost, or something may be
 * missing behind it), it is no cursor at all, or the feed's server does not answer for now; the cursor is still good then.
 */
export class FeedError extends Error {
  override readonly name = 'FeedError';
  readonly code: FeedErrorCode;

  constructor(code: FeedErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The error for a feed whose server does not answer. */
export function feedUnavailable(cause?: unknown): FeedError {
  const message = 'The feed is away for the moment: subscribe again in a few seconds, behind the same cursor.';
  return new FeedError('UNAVAILABLE', message, { cause });
}

/** Whether an error is of a feed whose server is away. That is an outage: it is told once, and not with each of these. */
export function isFeedAway(error: unknown): boolean {
  return error instanceof FeedError && error.code === 'UNAVAILABLE';
}

/**
 * A live reader. Iterating gives every item after its start, in order, once; it waits when there is none, ends quietly
 * after `return()`, abort or the feed's disposal, and throws FeedError CURSOR_EXPIRED when it fell behind the log or may
 * miss something, and UNAVAILABLE when the feed's server has been away for some seconds.
 */
export interface FeedSubscription extends AsyncIterableIterator<FeedItem> {
  /** Its place: the cursor right behind which it goes on. */
  readonly cursor: string;
  /** Whether it has ended: nothing comes from it any more. */
  readonly ended: boolean;
  /**
   * The items right behind its place, at most `countMax`, without moving on; none when nothing more is published yet. What
   * is in the log only comes as a promise, of which none means: ask again. Throws or rejects with FeedError CURSOR_EXPIRED
   * or UNAVAILABLE.
   */
  peek(countMax: number): readonly FeedItem[] | Promise<readonly FeedItem[]>;
  /** Moves on by as many items as `peek` gave, or fewer. Not to be mixed with a `next()` that is under way. */
  skip(count: number): void;
  /** Calls `wake` when `peek` may answer otherwise or the subscription has ended, perhaps twice; gives the function that forgets it. */
  onceChanged(wake: () => void): () => void;
}

export interface SubscribeOptions {
  /** Go on after this cursor; null or absent starts with the next item published after `subscribe` resolved. */
  after?: string | null;
  /** Ends the subscription. */
  signal?: AbortSignal;
}

export interface Feed extends AsyncDisposable {
  /**
   * Appends the entries to the project's feed, in order; up to 1,000 are contiguous. Concurrent calls are coalesced.
   * The entries must not be changed afterwards. Rejects when the feed is closed, and with FeedError UNAVAILABLE when its
   * server cannot be reached within its limit, at once while it is known to be away; some entries may then have been published, so a caller that tries
   * again may double them. What was lost so expires every cursor.
   */
  publish(projectId: ProjectId, entries: readonly FeedEntry[]): Promise<void>;
  /**
   * Says that something may have been committed that nobody will publish. Every cursor given so far expires, of all
   * projects, as soon as the feed's server answers: whoever reads is told, and reads the lists anew.
   */
  expireCursors(): void;
  /**
   * Starts a subscription; once this has resolved, nothing published later is missed. It has ended already when the
   * signal is aborted. Subscriptions share the items they give: readers do not change them.
   * Rejects with FeedError BAD_CURSOR, CURSOR_EXPIRED or, when its server does not answer, UNAVAILABLE; and when the feed is
   * closed.
   */
  subscribe(projectId: ProjectId, options?: SubscribeOptions): Promise<FeedSubscription>;
  /** Subscriptions of this process that have not ended. */
  readonly subscriberCount: number;
  /** Resolves when the feed's server answers; rejects with the reason when it does not. */
  ping(): Promise<void>;
}
