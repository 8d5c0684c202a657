import { once } from 'node:events';
import { WebSocket } from 'ws';
import type { SchemaContext } from '../../schema/context.ts';
import { schema } from '../../schema/index.ts';
import type { ProjectId } from '../../src/domain/ids.ts';
import type { Permission } from '../../src/domain/permissions.ts';
import type { Feed } from '../../src/feed/feed.ts';
import type { GatewayLimits } from '../../src/gateway/limits.ts';
import { startTestGateway, until } from './gateway-fixture.ts';
import type { GatewayFixture } from './gateway-fixture.ts';
import type { SchemaFixture } from './schema-fixture.ts';

/** What the keys of a feed gateway may do; a test changes it. */
export type Holders = Map<string, { projectId: ProjectId; permissions: readonly Permission[] }>;

/** Starts a gateway over the whole schema. The keys are those of `holders`. */
export async function startFeedGateway(
  fixture: SchemaFixture,
  holders: Holders,
  { feed = fixture.feed, ...limits }: Partial<GatewayLimits> & { feed?: Feed } = {},
): Promise<GatewayFixture> {
  const { database, ...rest } = fixture.contextOf(fixture.projectId);
  return await startTestGateway(limits, {
    schema,
    authenticate: async (key) => {
      const holder = holders.get(key);
      if (holder === undefined) return await Promise.resolve(null);
      const { caller } = fixture.contextOf(holder.projectId, holder.permissions);
      return caller?.kind === 'ADMINISTRATOR' ? null : caller;
    },
    createContext: (caller: SchemaContext['caller'], requestId: string): SchemaContext => ({
      ...rest,
      database,
      feed,
      caller,
      requestId,
    }),
  });
}

/** What the tests' subscriptions select; each has only a part of it. */
export interface WatchedData {
  deliveryFeed: { cursor: string; attempt: { errorMessage: string }; webhook: { id: string; name: string } };
  deliveryUpdated: { status: string };
}

/** One result. */
export interface WatchedResult {
  data: WatchedData | null;
  errors?: { message: string; extensions: { code: string; requestId?: string } }[];
}

/** A subscription over a socket of its own, speaking the protocol by hand. */
export interface RawWatcher {
  socket: WebSocket;
  /** The payloads of `next` messages so far. */
  results: WatchedResult[];
  /** Code and reason of the close. */
  closed: Promise<[number, string]>;
}

/** Opens a socket and subscribes; resolves when the subscription has been asked for. */
export async function watchSocket(
  gateway: GatewayFixture,
  query: string,
  { key = 'ours', id = 'a', variables = {} }: { key?: string; id?: string; variables?: object } = {},
): Promise<RawWatcher> {
  const socket = new WebSocket(gateway.websocketUrl, 'graphql-transport-ws');
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
  await once(socket, 'message');
  const results: RawWatcher['results'] = [];
  socket.on('message', (data: Buffer) => {
    const message = JSON.parse(data.toString()) as { id: string; type: string; payload: RawWatcher['results'][number] };
    if (message.type === 'next' && message.id === id) results.push(message.payload);
  });
  const closed = once(socket, 'close').then(([code, reason]): [number, string] => [Number(code), String(reason)]);
  socket.send(JSON.stringify({ id, type: 'subscribe', payload: { query, variables } }));
  return { socket, results, closed };
}

/** One block of a stream of server-sent events. */
export interface StreamBlock {
  id: string | null;
  event: string | null;
  data: WatchedResult | null;
  retry: string | null;
}

/** A subscription by server-sent events. */
export interface StreamWatcher {
  blocks: StreamBlock[];
  /** The id that a client would send to resume. */
  lastEventId: () => string | null;
  /** Resolves when the stream has ended, however. */
  ended: Promise<void>;
  stop: () => void;
}

/** Subscribes by server-sent events; resolves with the start of the stream. */
export async function watchStream(
  gateway: GatewayFixture,
  query: string,
  { key = 'ours', variables = {}, lastEventId }: { key?: string; variables?: object; lastEventId?: string | null } = {},
): Promise<StreamWatcher> {
  const abort = new AbortController();
  const response = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      accept: 'text/event-stream',
      authorization: `Bearer ${key}`,
      ...(lastEventId == null ? {} : { 'last-event-id': lastEventId }),
    },
    body: JSON.stringify({ query, variables }),
    signal: abort.signal,
  });
  const blocks: StreamBlock[] = [];
  const ended = readBlocks(response, blocks).catch(() => undefined);
  await until(() => blocks.length > 0);
  const lastId = (): string | null => blocks.findLast(({ id }) => id !== null)?.id ?? null;
  return { blocks, ended, lastEventId: lastId, stop: () => abort.abort() };
}

async function readBlocks(response: Response, blocks: StreamBlock[]): Promise<void> {
  let text = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    const parts = (text + decoder.decode(chunk, { stream: true })).split('\n\n');
    text = parts.pop() ?? '';
    blocks.push(...parts.map(parseBlock));
  }
}

function parseBlock(block: string): StreamBlock {
  const fields = new Map(
    block.split('\n').map((line): [string, string] => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    }),
  );
  const data = fields.get('data') ?? '';
  return {
    id: fields.get('id') ?? null,
    event: fields.get('event') ?? null,
    retry: fields.get('retry') ?? null,
    data: data === '' ? null : (JSON.parse(data) as StreamBlock['data']),
  };
}
