import { setTimeout as after } from 'node:timers/promises';
import { DeliveryStateFeedDocument, DeliveryStatesDocument, FeedPlaceDocument } from '../generated/graphql.ts';
import type { DeliveryStateFeedSubscription, DeliveryStatesQuery } from '../generated/graphql.ts';
import type { ApiClient, Watch } from './e2e-client.ts';

// A client that keeps the state of every delivery by what the README tells: the list by query, then the feed behind the
// cursor that was asked for before; behind the last cursor when the connection ends or the feed is away; and the list anew
// when the cursor has expired.

export interface FeedMirror extends AsyncDisposable {
  /** Status and number of attempts of each delivery, by id. */
  states: ReadonlyMap<string, string>;
  /** How often its cursor had expired, */
  expiredCount: () => number;
  /** its connection ended or the feed was away, */
  interruptedCount: () => number;
  /** and why, of each. */
  reasons: readonly string[];
}

const pauseMs = 100;
const quietMs = 60_000;

type State = DeliveryStatesQuery['deliveries']['nodes'][number];

/** Begins to follow the project of the client's key. Resolves when the list has been read. */
export async function startFeedMirror(client: ApiClient): Promise<FeedMirror> {
  const mirror = new Mirror(client);
  const cursor = await mirror.read();
  const following = mirror.run(cursor);
  return {
    states: mirror.states,
    expiredCount: () => mirror.expiredCount,
    interruptedCount: () => mirror.reasons.length - mirror.expiredCount,
    reasons: mirror.reasons,
    [Symbol.asyncDispose]: async () => {
      mirror.stop();
      await following;
    },
  };
}

class Mirror {
  readonly states = new Map<string, string>();
  readonly reasons: string[] = [];
  expiredCount = 0;
  readonly #client: ApiClient;
  #watch: Watch<DeliveryStateFeedSubscription> | null = null;
  #stopped = false;

  constructor(client: ApiClient) {
    this.#client = client;
  }

  stop(): void {
    this.#stopped = true;
    this.#watch?.[Symbol.dispose]();
  }

  async run(start: string): Promise<void> {
    for (let cursor: string | null = start; !this.#stopped;) {
      try {
        cursor ??= await this.read();
        cursor = await this.#follow(cursor);
      } catch (error) {
        this.reasons.push(String(error));
      }
      await after(pauseMs);
    }
  }

  /** Reads the list behind a cursor, and gives that. */
  async read(): Promise<string> {
    const { feedCursor } = await this.#client.run(FeedPlaceDocument, {});
    let place: string | null = null;
    do {
      const { deliveries }: DeliveryStatesQuery = await this.#client.run(DeliveryStatesDocument, { after: place });
      for (const state of deliveries.nodes) this.#take(state);
      place = deliveries.pageInfo.hasNextPage ? (deliveries.pageInfo.endCursor ?? null) : null;
    } while (place !== null);
    return feedCursor;
  }

  /** Follows the feed until it ends, and gives the cursor to go on behind; null when it has expired. */
  async #follow(start: string): Promise<string | null> {
    let cursor = start;
    using watch = this.#client.watch<DeliveryStateFeedSubscription>(DeliveryStateFeedDocument, { after: cursor });
    this.#watch = watch;
    if (this.#stopped) return cursor;
    for (;;) {
      const answer = await watch.nextAnswer(quietMs).catch((error: unknown) => String(error));
      if (answer === null) return cursor;
      if (typeof answer === 'string' || answer.data === null) {
        const reason = typeof answer === 'string' ? answer : String(answer.errors[0]?.code);
        this.reasons.push(reason);
        if (reason !== 'CURSOR_EXPIRED') return cursor;
        this.expiredCount += 1;
        return null;
      }
      const { delivery, cursor: next } = answer.data.deliveryFeed;
      if (delivery) this.#take(delivery);
      cursor = next;
    }
  }

  #take({ id, status, attemptCount }: State): void {
    this.states.set(id, `${status} ${attemptCount}`);
  }
}
