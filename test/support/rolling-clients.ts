import { setTimeout as after } from 'node:timers/promises';
import { createClient } from 'graphql-ws';
import { Pool } from 'undici';
import { WebSocket } from 'ws';
import { openFeedStream } from './feed-stream.ts';
import type { FeedPlace, Transport } from './feed-stream.ts';

// Clients as they are written for a service whose processes come and go: emitters, and watchers of the feed.

const mutation =
  'mutation ($input: EmitEventInput!) { emitEvent(input: $input) { event { id } deliveryCount userErrors { message } } }';
/** What one emitter waits before its next event. */
const paceMs = 15;
const reconnectMs = 100;

/** What the emitters had answered, and what went wrong. */
export interface EmitTally {
  acceptedIds: Set<string>;
  /** Emits that were sent again, as their key allows. */
  repeatedCount: number;
  failures: string[];
  /** The slowest emit, in milliseconds. */
  slowestMs: number;
}

export interface EmitterOptions {
  key: string;
  eventType: string;
  tally: EmitTally;
  /** Ends it after the event that is under way. */
  signal: AbortSignal;
}

/** One way to have an event accepted; gives the event's id, and rejects when it failed for good. */
type Emit = (number: number) => Promise<string>;

/** A new, empty tally. */
export function createTally(): EmitTally {
  return { acceptedIds: new Set(), repeatedCount: 0, failures: [], slowestMs: 0 };
}

/**
 * Emits over kept connections by way of a load balancer, without keys and without ever repeating: each connection that breaks is
 * a failure.
 */
export async function emitThroughBalancer(url: string, options: EmitterOptions): Promise<void> {
  const pool = new Pool(url, { connections: 2, pipelining: 1 });
  try {
    await emitOn(async (number) => await post(pool, options, { data: { number } }), options);
  } finally {
    await pool.close();
  }
}

/**
 * Emits over kept connections to the gateways themselves. A connection that is refused or breaks is the next gateway's turn,
 * with the same idempotency key, which is what makes the repetition safe. Source: RFC 9110 §9.2.2.
 */
export async function emitToGateways(urls: readonly string[], name: string, options: EmitterOptions): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const pools = urls.map((url) => {
    const pool = new Pool(url, { connections: 1, pipelining: 1 });
    stack.defer(async () => await pool.close());
    return pool;
  });
  const emit: Emit = async (number) => {
    for (let turn = number; ; turn += 1) {
      const pool = pools[turn % pools.length];
      if (pool === undefined) throw new Error('no gateways');
      try {
        return await post(pool, options, { data: { number }, idempotencyKey: `${name}-${number}` });
      } catch (error) {
        if (!isBrokenConnection(error) || turn > number + 50) throw error;
        options.tally.repeatedCount += 1;
        if (turn > number) await after(reconnectMs);
      }
    }
  };
  await emitOn(emit, options);
}

/** Emits over a WebSocket that is opened again at the next gateway when it closes; graphql-ws then repeats what was not answered. */
export async function emitOverWebsocket(urls: readonly string[], name: string, options: EmitterOptions): Promise<void> {
  let turn = 0;
  const client = createClient({
    url: () => `${urls[turn++ % urls.length]?.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${options.key}` },
    lazy: false,
    retryAttempts: 100,
    shouldRetry: () => true,
    retryWait: async () => {
      options.tally.repeatedCount += 1;
      await after(reconnectMs);
    },
  });
  const emit: Emit = async (number) => {
    const input = { type: options.eventType, data: { number }, idempotencyKey: `${name}-${number}` };
    for await (const answer of client.iterate({ query: mutation, variables: { input } })) return acceptedId(answer);
    throw new Error('the operation ended without an answer');
  };
  await emitOn(emit, options);
  await client.dispose();
}

async function emitOn(emit: Emit, { tally, signal }: EmitterOptions): Promise<void> {
  for (let number = 0; !signal.aborted; number += 1) {
    const startedAt = performance.now();
    try {
      tally.acceptedIds.add(await emit(number));
    } catch (error) {
      tally.failures.push(error instanceof Error ? error.message : JSON.stringify(error));
    }
    tally.slowestMs = Math.max(tally.slowestMs, performance.now() - startedAt);
    await after(paceMs);
  }
}

async function post(pool: Pool, { key, eventType }: EmitterOptions, input: object): Promise<string> {
  const { statusCode, body } = await pool.request({
    path: '/graphql',
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` },
    body: JSON.stringify({ query: mutation, variables: { input: { type: eventType, ...input } } }),
  });
  const answer: unknown = await body.json();
  if (statusCode !== 200) throw new Error(`${statusCode}: ${JSON.stringify(answer)}`);
  return acceptedId(answer);
}

function acceptedId(answer: unknown): string {
  const { data } = answer as { data?: { emitEvent?: { event?: { id: string }; deliveryCount: number } } | null };
  const { event, deliveryCount } = data?.emitEvent ?? {};
  if (event === undefined || deliveryCount !== 1) throw new Error(`not accepted: ${JSON.stringify(answer)}`);
  return event.id;
}

/** Whether no answer came because there was no connection, or none any more. */
function isBrokenConnection(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET'].includes(code);
}

/** A watcher of the whole feed, from its start on. */
export interface FeedWatcher {
  /** Numbers of the items in the order in which they came. */
  numbers: number[];
  /** Logs that the items were of: one, unless some was lost. */
  epochs: Set<string>;
  connectionCount: number;
  refusals: string[];
  done: Promise<void>;
}

/** Watches behind the cursor; a stream that ends goes on at the next gateway, behind the last item that came. */
export function watchThroughRestarts(
  urls: readonly string[],
  transport: Transport,
  options: { key: string; cursor: string; signal: AbortSignal },
): FeedWatcher {
  const watcher: FeedWatcher = {
    numbers: [],
    epochs: new Set(),
    connectionCount: 0,
    refusals: [],
    done: Promise.resolve(),
  };
  watcher.done = watch(watcher);
  return watcher;

  async function watch(seen: FeedWatcher): Promise<void> {
    let place: FeedPlace = { cursor: options.cursor, eventId: null };
    for (let turn = 0; !options.signal.aborted && seen.refusals.length === 0; turn += 1) {
      const stream = openFeedStream(transport, {
        url: urls[turn % urls.length] ?? '',
        key: options.key,
        place,
        onItem: ({ cursor, eventId }) => {
          seen.numbers.push(Number(cursor.split('-')[1]));
          seen.epochs.add(cursor.split('-')[0] ?? '');
          place = { cursor, eventId };
        },
      });
      seen.connectionCount += 1;
      const stop = (): void => stream.close(false);
      options.signal.addEventListener('abort', stop, { once: true });
      const end = await stream.ended;
      options.signal.removeEventListener('abort', stop);
      if (end.kind === 'refused') seen.refusals.push(end.reason);
      else if (!options.signal.aborted) await after(reconnectMs);
    }
  }
}
