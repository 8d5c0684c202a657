import { createServer } from 'node:http';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { handleProtocols } from 'graphql-ws';
import { useServer } from 'graphql-ws/use/ws';
import { createYoga } from 'graphql-yoga';
import { pino } from 'pino';
import { WebSocketServer } from 'ws';
import { schema } from '../../schema/index.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import { startGateway } from '../../src/gateway/gateway.ts';
import { entryOf, feedProjectId } from './feed-entries.ts';
import type { AddressInfo } from 'node:net';
import type { ExecutionArgs } from 'graphql';
import type { Caller, SchemaContext } from '../../schema/context.ts';
import { newId } from '../../src/store/new-id.ts';
import type { Feed } from '../../src/feed/feed.ts';

// What serves the feed, in a process of its own: Posthorn's edge, stock Yoga with graphql-ws on the same schema, or a
// bare ws server that sends everyone one string.

export interface FeedServerPlan {
  kind: 'posthorn' | 'stock' | 'raw';
  /** Empty for a feed in process. */
  redisUrl: string;
  /** What the bare server sends. */
  text: string;
}

interface FeedServer {
  port: number;
  /** Where its feed stands at the start. */
  cursor: string;
  publish: (count: number) => Promise<void>;
}

const bufferedBytesMax = 1024 * 1024;
const plan = JSON.parse(process.env['BENCH_FEED'] ?? '') as FeedServerPlan;
const caller: Caller = {
  kind: 'API_KEY',
  apiKeyId: newId('apiKey'),
  projectId: feedProjectId,
  permissions: new Set(['VIEW_WEBHOOKS']),
  expiresAt: null,
};
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const server = plan.kind === 'raw' ? await startRaw(plan.text) : await startServing(plan);
process.once('disconnect', () => process.exit(0)); // the benchmark has ended, perhaps by a signal
process.on('message', (told: { kind: string; count?: number }) => void answer(told));
process.send?.({ kind: 'ready', port: server.port, cursor: server.cursor });

async function answer({ kind, count = 0 }: { kind: string; count?: number }): Promise<void> {
  if (kind === 'publish') await server.publish(count);
  if (kind !== 'memory') return;
  for (let round = 0; round < 5; round += 1) {
    collectGarbage();
    await turn();
  }
  const { rss, heapUsed } = process.memoryUsage();
  process.send?.({ kind: 'memory', rssBytes: rss, heapBytes: heapUsed });
}

async function startServing({ kind, redisUrl }: FeedServerPlan): Promise<FeedServer> {
  const feed: Feed =
    redisUrl === ''
      ? createInProcessFeed()
      : await startRedisFeed({ url: redisUrl, onError: (error) => process.stderr.write(`${String(error)}\n`) });
  const createContext = (who: SchemaContext['caller'], requestId: string): SchemaContext =>
    ({ caller: who, requestId, feed, database: {} }) as unknown as SchemaContext;
  const port = kind === 'stock' ? await startStock(createContext) : await startPosthorn(createContext);
  const { cursor } = await feed.subscribe(feedProjectId); // stays open: it keeps an empty feed in place
  return {
    port,
    cursor,
    publish: async (count) => {
      await feed.publish(
        feedProjectId,
        Array.from({ length: count }, () => entryOf(0)),
      );
    },
  };
}

async function startPosthorn(
  createContext: (who: SchemaContext['caller'], id: string) => SchemaContext,
): Promise<number> {
  const gateway = await startGateway({
    schema,
    host: '127.0.0.1',
    port: 0,
    authenticate: async () => await Promise.resolve(caller),
    createContext,
    adminKey: null,
    rate: null,
    introspection: true,
    persistedOperations: null,
    allowedOrigins: [],
    checks: { database: answers, queue: answers, feed: answers },
    logger: pino({ level: 'error' }, pino.destination(2)),
  });
  return gateway.port;
}

async function answers(): Promise<void> {
  await Promise.resolve();
}

/** As Yoga's documentation puts it together with graphql-ws. */
async function startStock(createContext: (who: SchemaContext['caller'], id: string) => SchemaContext): Promise<number> {
  const yoga = createYoga({ schema, context: () => createContext(caller, 'bench'), logging: false });
  const http = createServer((request, response) => void yoga(request, response));
  const websockets = new WebSocketServer({ server: http, path: '/graphql', handleProtocols });
  type Root = { rootValue: { execute: (args: ExecutionArgs) => never; subscribe: (args: ExecutionArgs) => never } };
  useServer(
    {
      execute: (args) => (args as unknown as Root).rootValue.execute(args),
      subscribe: (args) => (args as unknown as Root).rootValue.subscribe(args),
      onSubscribe: async (_context, _id, params) => {
        const enveloped = yoga.getEnveloped({ params });
        const { execute, subscribe, contextFactory, parse, validate } = enveloped;
        const document = parse(params.query);
        const errors = validate(enveloped.schema, document);
        if (errors.length > 0) return errors;
        const contextValue = await contextFactory();
        const variableValues = params.variables;
        return { schema: enveloped.schema, document, variableValues, contextValue, rootValue: { execute, subscribe } };
      },
    },
    websockets,
  );
  return await listen(http);
}

async function startRaw(text: string): Promise<FeedServer> {
  const http = createServer();
  const websockets = new WebSocketServer({ server: http, path: '/graphql', handleProtocols });
  websockets.on('connection', (socket) => {
    socket.once('message', () => socket.send('{"type":"connection_ack"}'));
    socket.on('error', () => undefined);
  });
  return {
    port: await listen(http),
    cursor: '',
    publish: async (count) => {
      for (let sent = 0; sent < count; sent += 1) {
        for (const socket of websockets.clients) socket.send(text);
        await turn();
        while ([...websockets.clients].some(({ bufferedAmount }) => bufferedAmount > bufferedBytesMax)) await turn();
      }
    },
  };
}

async function listen(http: ReturnType<typeof createServer>): Promise<number> {
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', () => resolve()));
  return (http.address() as AddressInfo).port;
}
