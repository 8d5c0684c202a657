import { randomBytes } from 'node:crypto';
import { PrismaPg } from '@prisma/adapter-pg';
import { execute, type ExecutionResult, parse, subscribe, validate } from 'graphql';
import type { Pool, QueryConfig } from 'pg';
import { PrismaClient } from '../../prisma/generated/client/client.ts';
import type { SchemaContext, SchemaSettings } from '../../schema/context.ts';
import { schema } from '../../schema/index.ts';
import { type ApiKeyId, type DeliveryId, idFromUuid, type ProjectId } from '../../src/domain/ids.ts';
import { type Permission, permissions } from '../../src/domain/permissions.ts';
import type { Feed } from '../../src/feed/feed.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { createAccessTokens } from '../../src/access-tokens.ts';
import { retentionInstants } from '../../src/domain/upkeep.ts';
import { cleanup } from '../../src/store/cleanup.ts';
import { listStuck } from '../../src/store/sweep.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { newId } from '../../src/store/new-id.ts';
import { createProject } from '../../src/store/projects.ts';
import { createSecretBox } from '../../src/store/secret-box.ts';
import { createAddressResolver } from '../../worker/egress-addresses.ts';
import { createHostCheck } from '../../worker/egress-host-check.ts';
import { addressesOf } from './addresses.ts';
import { createTestDatabase } from './postgres.ts';
import type { StoreFixture } from './store-fixture.ts';

/** The answer of an operation, as a client sees it. */
export interface Answer {
  // oxlint-disable-next-line typescript/no-explicit-any -- a test knows the shape that it asked for
  data: any;
  errors: { code: unknown; message: string }[];
}

/** The schema on a database of its own, with a feed in process and a queue that only remembers. */
export interface SchemaFixture extends StoreFixture {
  feed: Feed;
  /** Every delivery that was enqueued, in order. */
  enqueued: DeliveryId[];
  /** Those that were enqueued for later. */
  deferred: DeliveryId[];
  /** Every API key that this process was told to forget. */
  forgotten: ApiKeyId[];
  warnings: string[];
  /** The addresses of the names that there are. */
  hosts: Map<string, string[]>;
  /** The SQL that was sent, by Prisma and through the pools, since the array was last emptied. */
  statements: string[];
  /** A context for a key of the project with the permissions, all of them unless said. */
  contextOf: (projectId: ProjectId, granted?: readonly Permission[]) => SchemaContext;
  /** Executes a query or mutation as the fixture's project, or in the context given. */
  run: (document: string, variables?: object, context?: SchemaContext) => Promise<Answer>;
  /** Starts a subscription as the fixture's project, or in the context given. */
  watch: (document: string, variables?: object, context?: SchemaContext) => Promise<Watched>;
}

/** A running subscription, or why it did not start. */
export type Watched =
  | { kind: 'started'; next: () => Promise<Answer | null>; stop: () => Promise<void> }
  | { kind: 'refused'; answer: Answer };

const settings: SchemaSettings = {
  requireHttps: true,
  allowedCidrs: [],
  maxAttempts: 6,
  retryScheduleSeconds: [60, 300, 900, 3600, 14_400],
  attemptTimeoutMs: 10_000,
};

export async function openSchemaFixture(): Promise<SchemaFixture> {
  await using stack = new AsyncDisposableStack();
  const testDatabase = stack.use(await createTestDatabase());
  const opened = stack.use(openDatabase(testDatabase.url));
  const statements: string[] = [];
  const prisma = new PrismaClient({
    adapter: new PrismaPg({ connectionString: testDatabase.url }),
    log: [{ emit: 'event', level: 'query' }],
  });
  prisma.$on('query', (event) => statements.push(event.query));
  stack.defer(async () => await prisma.$disconnect());
  for (const pool of [opened.pipeline, opened.reads]) noteStatements(pool, statements);
  const db = { ...opened, prisma: prisma as unknown as typeof opened.prisma };
  const feed = stack.use(createInProcessFeed());
  const secretBox = createSecretBox([{ id: 'test', key: randomBytes(32) }]);
  const emitEvent = createEmitter(db, { maxAttempts: settings.maxAttempts });
  const projectId = idFromUuid('project', (await createProject(db, 'Ours')).id);
  const strangerId = idFromUuid('project', (await createProject(db, 'A stranger')).id);
  const tokens = createAccessTokens([{ id: 'test', key: randomBytes(32) }]);
  const forgotten: ApiKeyId[] = [];
  const enqueued: DeliveryId[] = [];
  const deferred: DeliveryId[] = [];
  const warnings: string[] = [];
  const hosts = new Map<string, string[]>();
  const checkHost = createHostCheck(createAddressResolver([], async (host) => addressesOf(hosts.get(host) ?? [])));

  function contextOf(owner: ProjectId, granted: readonly Permission[] = permissions): SchemaContext {
    return {
      caller: {
        kind: 'API_KEY',
        apiKeyId: newId('apiKey'),
        projectId: owner,
        permissions: new Set(granted),
        expiresAt: null,
      },
      requestId: 'test',
      database: db,
      secretBox,
      feed,
      emitEvent,
      enqueue: async (due, { delayMs = 0 } = {}) =>
        void (delayMs === 0 ? enqueued : deferred).push(...due.map(({ id }) => id)),
      checkHost,
      settings,
      credentials: {
        issueAccessToken: async (grant) => await tokens.issue(grant),
        forgetApiKey: (id) => void forgotten.push(id),
      },
      administration: {
        retentionDays: 30,
        sweep: async () => 0,
        retryStuck: async (limit) => (await listStuck(db, limit)).length,
        cleanup: async (days, signal) => await cleanup(db, retentionInstants(new Date(), days), signal),
      },
      onWarning: (message) => void warnings.push(message),
    };
  }

  const owned = stack.move();
  return {
    db,
    secretBox,
    projectId,
    strangerId,
    feed,
    enqueued,
    deferred,
    forgotten,
    warnings,
    hosts,
    statements,
    contextOf,
    run: async (document, variables, context = contextOf(projectId)) => {
      const result = await execute({ ...operation(document, variables), contextValue: context });
      return answerOf(result);
    },
    watch: async (document, variables, context = contextOf(projectId)) => {
      const result = await subscribe({ ...operation(document, variables), contextValue: context });
      if (!(Symbol.asyncIterator in result)) return { kind: 'refused', answer: answerOf(result) };
      return {
        kind: 'started',
        next: async () => {
          const item = await result.next();
          return item.done === true ? null : answerOf(item.value);
        },
        stop: async () => void (await result.return()),
      };
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

/** Notes the text of what the pool is asked to run by itself; what runs on a connection of it is not noted. */
function noteStatements(pool: Pool, statements: string[]): void {
  const query = pool.query.bind(pool);
  pool.query = ((statement: string | QueryConfig, ...rest: unknown[]) => {
    statements.push(typeof statement === 'string' ? statement : statement.text);
    return query(statement as string, ...(rest as []));
  }) as Pool['query'];
}

function operation(document: string, variables: object = {}) {
  const parsed = parse(document);
  const problems = validate(schema, parsed);
  if (problems.length > 0) throw new Error(problems.map((problem) => problem.message).join('; '));
  return { schema, document: parsed, variableValues: { ...variables } };
}

function answerOf(result: ExecutionResult): Answer {
  const errors = result.errors ?? [];
  return {
    data: JSON.parse(JSON.stringify(result.data ?? null)),
    errors: errors.map((error) => ({ code: error.extensions['code'], message: error.message })),
  };
}
