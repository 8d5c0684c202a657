import { request } from 'node:http';
import { print } from 'graphql';
import { createClient } from 'graphql-ws';
import { WebSocket } from 'ws';
import { z } from 'zod';
import { FeedOrderDocument } from '../generated/graphql.ts';

// One connection that watches the feed, until either side ends it, over WebSocket or as server-sent events.

export type Transport = 'websocket' | 'sse';

/** Where a stream goes on: behind the cursor, or behind the event that carried this id where streams carry ids. */
export interface FeedPlace {
  cursor: string;
  eventId: string | null;
}

/** An item as it came: its place and the number that its publisher gave it. */
export interface NumberedItem extends FeedPlace {
  number: number;
}

/** Why a stream is over: it was cut or closed, or it was refused, with what the server said. */
export type StreamEnd = { kind: 'cut' } | { kind: 'refused'; reason: string };

export interface FeedStream {
  ended: Promise<StreamEnd>;
  /** Ends it from this side: by the protocol, or `abruptly` without a word. */
  close: (abruptly: boolean) => void;
}

export interface StreamOptions {
  /** Of the gateway, as in `http://127.0.0.1:4000`. */
  url: string;
  key: string;
  place: FeedPlace;
  onItem: (item: NumberedItem) => void;
}

const itemAnswer = z.object({
  data: z.object({
    deliveryFeed: z.object({ cursor: z.string(), delivery: z.object({ attemptCount: z.number() }) }),
  }),
});

/** Begins to watch. */
export function openFeedStream(transport: Transport, options: StreamOptions): FeedStream {
  return transport === 'websocket' ? openWebsocketStream(options) : openEventStream(options);
}

function openWebsocketStream({ url, key, place, onItem }: StreamOptions): FeedStream {
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>();
  let socket: WebSocket | null = null;
  const client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${key}` },
    retryAttempts: 0,
    on: { opened: (opened) => (socket = opened instanceof WebSocket ? opened : null) },
  });
  const stop = client.subscribe(
    { query: print(FeedOrderDocument), variables: { after: place.cursor } },
    {
      next: (answer) => {
        const item = itemOf(answer, null);
        if (item === null) resolve({ kind: 'refused', reason: JSON.stringify(answer) });
        else onItem(item);
      },
      error: (error) => resolve(Array.isArray(error) ? { kind: 'refused', reason: JSON.stringify(error) } : cut),
      complete: () => resolve(cut),
    },
  );
  return {
    ended,
    close: (abruptly) => {
      if (abruptly && socket !== null) socket.terminate();
      else stop();
    },
  };
}

/** As an EventSource does it: what the stream carries as ids is where the next one goes on. */
function openEventStream({ url, key, place, onItem }: StreamOptions): FeedStream {
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>();
  const resumed: Record<string, string> = place.eventId === null ? {} : { 'last-event-id': place.eventId };
  const call = request(`${url}/graphql`, {
    method: 'POST',
    agent: false,
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${key}`,
      ...resumed,
    },
  });
  const take = (block: string): void => {
    const data = /^data: ?(.*)$/m.exec(block)?.[1] ?? '';
    if (data === '') return; // a comment, or the end
    const answer: unknown = JSON.parse(data);
    const item = itemOf(answer, /^id: ?(.*)$/m.exec(block)?.[1] ?? null);
    if (item === null) resolve({ kind: 'refused', reason: data });
    else onItem(item);
  };
  call.once('response', (response) => {
    if (response.statusCode !== 200) resolve({ kind: 'refused', reason: `status ${response.statusCode}` });
    let text = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      const blocks = (text + chunk).split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) take(block);
    });
    response.once('error', () => resolve(cut)).once('close', () => resolve(cut));
  });
  call.once('error', () => resolve(cut)).once('close', () => resolve(cut));
  const variables = place.eventId === null ? { after: place.cursor } : {};
  call.end(JSON.stringify({ query: print(FeedOrderDocument), variables }));
  return { ended, close: () => call.destroy() };
}

const cut: StreamEnd = { kind: 'cut' };

function itemOf(answer: unknown, eventId: string | null): NumberedItem | null {
  const parsed = itemAnswer.safeParse(answer);
  if (!parsed.success) return null;
  const { cursor, delivery } = parsed.data.data.deliveryFeed;
  return { cursor, eventId, number: delivery.attemptCount };
}
