import { GraphQLError } from 'graphql';
import { createSchema } from 'graphql-yoga';
import { createClient } from 'graphql-ws';
import { pino } from 'pino';
import { vi } from 'vitest';
import { WebSocket } from 'ws';
import type { Client } from 'graphql-ws';
import type { Caller, SchemaContext } from '../../schema/context.ts';
import { startGateway } from '../../src/gateway/gateway.ts';
import type { Gateway, GatewayOptions } from '../../src/gateway/gateway.ts';
import { Secret } from '../../src/secret.ts';
import type { GatewayLimits } from '../../src/gateway/limits.ts';

/** What happened on the server's side of the test API. */
export interface Counters {
  pulled: number;
  opened: number;
  returned: number;
}

export interface GatewayFixture extends Gateway {
  websocketUrl: string;
  counters: Counters;
  /** Keys that `authenticate` accepts. */
  keys: Set<string>;
  /** Lookups made so far. */
  lookups: () => number;
  logs: () => Record<string, unknown>[];
  checks: GatewayOptions['checks'];
  /** Lets the resolvers of `held` answer. */
  release: () => void;
  client: (connectionParams?: Record<string, unknown>) => Client;
}

const typeDefs = /* GraphQL */ `
  type Query {
    hello(name: String = "world"): String!
    who: String
    requestId: String!
    traceParent: String
    secret: String!
    crash: String
    crashNonNull: String!
    notFound: String
    held: String
    deep: Query
    large(bytes: Int!): String!
  }
  type Mutation {
    rename(name: String!): String!
  }
  type Subscription {
    count(to: Int!): Int!
    forever: Int!
    flood(bytes: Int!): String!
    expires: Int!
    breaks: Int!
    crashesInItem: Int!
    refused: Int!
  }
`;

/** An endless or bounded source that counts what is done with it. It never answers `next` once `to` items are out, unless ended. */
function source(
  counters: Counters,
  to: number,
  end?: () => Promise<IteratorResult<number>>,
): AsyncIterableIterator<number> {
  counters.opened += 1;
  const waiting: ((result: IteratorResult<number>) => void)[] = [];
  const done = { done: true as const, value: undefined };
  let sent = 0;
  let over = false;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      if (over) return done;
      if (sent < to) {
        counters.pulled += 1;
        sent += 1;
        return { done: false, value: sent };
      }
      if (end !== undefined) return await end();
      return await new Promise((resolve) => waiting.push(resolve));
    },
    async return() {
      if (!over) counters.returned += 1;
      over = true;
      for (const resolve of waiting.splice(0)) resolve(done);
      return done;
    },
  };
}

const keyHolder = { kind: 'API_KEY', permissions: new Set(), expiresAt: null };
const identity = (value: unknown): unknown => value;
const finished = async () => ({ done: true as const, value: undefined });

function createTestSchema(counters: Counters, held: () => Promise<string>) {
  return createSchema<SchemaContext>({
    typeDefs,
    resolvers: {
      Query: {
        hello: (_root, { name }: { name: string }) => `hello ${name}`,
        who: (_root, _args, context) =>
          context.caller?.kind === 'API_KEY' ? context.caller.projectId : (context.caller?.kind ?? null),
        requestId: (_root, _args, context) => context.requestId,
        traceParent: (_root, _args, context) => context.traceParent,
        secret: (_root, _args, context) => {
          if (context.caller !== null) return 'secret';
          throw new GraphQLError('no key', { extensions: { code: 'UNAUTHENTICATED' } });
        },
        crash: () => {
          throw new Error('password=hunter2');
        },
        crashNonNull: () => {
          throw Object.assign(new Error('library'), { extensions: { code: 'LIBRARY_CODE' } });
        },
        notFound: () => {
          throw new GraphQLError('no such thing', { extensions: { code: 'NOT_FOUND' } });
        },
        held: async () => await held(),
        deep: () => ({}),
        large: (_root, { bytes }: { bytes: number }) => 'x'.repeat(bytes),
      },
      Mutation: { rename: (_root, { name }: { name: string }) => name },
      Subscription: {
        count: { resolve: identity, subscribe: (_root, { to }: { to: number }) => source(counters, to, finished) },
        forever: { resolve: identity, subscribe: () => source(counters, 1) },
        flood: {
          resolve: (_value: number, { bytes }: { bytes: number }) => 'x'.repeat(bytes),
          subscribe: () => source(counters, Infinity),
        },
        expires: {
          resolve: identity,
          subscribe: () =>
            source(counters, 2, async () => {
              throw new GraphQLError('the cursor is too old', { extensions: { code: 'CURSOR_EXPIRED' } });
            }),
        },
        breaks: {
          resolve: identity,
          subscribe: () =>
            source(counters, 1, async () => {
              throw new Error('password=hunter2');
            }),
        },
        crashesInItem: {
          resolve: () => {
            throw new Error('password=hunter2');
          },
          subscribe: () => source(counters, 1, finished),
        },
        refused: {
          resolve: identity,
          subscribe: () => {
            throw new GraphQLError('no key', { extensions: { code: 'UNAUTHENTICATED' } });
          },
        },
      },
    },
  });
}

/** Starts a gateway over a small API whose every step is counted. */
export async function startTestGateway(
  limits: Partial<GatewayLimits> = {},
  options: Partial<GatewayOptions> = {},
): Promise<GatewayFixture> {
  const counters = { pulled: 0, opened: 0, returned: 0 };
  const keys = new Set(['good', 'other']);
  const lines: string[] = [];
  const hold = Promise.withResolvers<string>();
  const checks = { database: async () => {}, queue: async () => {}, feed: async () => {} };
  let lookups = 0;
  const gateway = await startGateway({
    schema: createTestSchema(counters, async () => await hold.promise),
    host: '127.0.0.1',
    port: 0,
    adminKey: new Secret('the admin key'),
    authenticate: async (key) => {
      lookups += 1;
      if (key === 'down') throw new Error('the database is down');
      const holder = { ...keyHolder, apiKeyId: `key ${key}`, projectId: `project of ${key}` };
      return keys.has(key) ? (holder as unknown as Caller) : null;
    },
    createContext: (caller, requestId) => ({ caller, requestId }) as SchemaContext,
    checks,
    logger: pino({ level: 'debug' }, { write: (line: string) => void lines.push(line) }),
    limits: { tickMs: 20, ...limits },
    rate: null,
    introspection: true,
    persistedOperations: null,
    allowedOrigins: [],
    ...options,
  });
  const websocketUrl = `${gateway.url.replace('http', 'ws')}/graphql`;
  return {
    ...gateway,
    websocketUrl,
    counters,
    keys,
    checks,
    lookups: () => lookups,
    logs: () => lines.map((line) => JSON.parse(line) as Record<string, unknown>),
    release: () => hold.resolve('released'),
    client: (connectionParams = {}) =>
      createClient({ url: websocketUrl, webSocketImpl: WebSocket, connectionParams, retryAttempts: 0 }),
  };
}

/** Posts a GraphQL request as a browser application would. */
export async function post(
  gateway: Gateway,
  body: object | string,
  headers: Record<string, string> = {},
): Promise<{ status: number; headers: Headers; body: { data?: Record<string, unknown>; errors?: Failure[] } }> {
  const response = await fetch(`${gateway.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
  return { status: response.status, headers: response.headers, body: (await response.json()) as never };
}

export interface Failure {
  message: string;
  extensions?: { code?: string; requestId?: string };
}

/** Waits for a condition with a limit. */
export async function until(condition: () => boolean | Promise<boolean>, timeout = 5_000): Promise<void> {
  await vi.waitFor(
    async () => {
      if (!(await condition())) throw new Error(`not within ${timeout} ms: ${condition.toString()}`);
    },
    { timeout, interval: 10 },
  );
}
