import { schema } from '../../schema/index.ts';
import type { Caller, SchemaContext } from '../../schema/context.ts';
import { isPermission, type Permission, permissions } from '../../src/domain/permissions.ts';
import { parseId, uuidOf } from '../../src/domain/ids.ts';
import { Secret } from '../../src/secret.ts';
import { post, startTestGateway } from './gateway-fixture.ts';
import type { GatewayFixture } from './gateway-fixture.ts';
import { openSchemaFixture } from './schema-fixture.ts';
import type { SchemaFixture } from './schema-fixture.ts';
import type { MadeDocument } from './schema-documents.ts';
import { addAttempt, addBelongings, attemptedEntry } from './tenant-belongings.ts';
import type { Belongings } from './tenant-belongings.ts';

// Two projects behind one real gateway: ours, which asks, and a foreign one, which must not be seen.

/** An answer as it came over HTTP or WebSocket. */
export interface TenantAnswer {
  data?: Record<string, unknown> | null;
  errors?: readonly { message: string; extensions?: { code?: string } }[];
}

/** Who asks: a key with these permissions, the administrator, or nobody. */
export type Granted = readonly Permission[] | 'ADMINISTRATOR' | null;

export interface TenantWorld extends AsyncDisposable {
  fixture: SchemaFixture;
  foreign: Belongings;
  /** One more of everything for our project, to be changed and deleted. */
  own: () => Promise<Belongings>;
  /** Asks as a key of our project with the permissions, as the administrator, or as nobody; a subscription for its first answer. */
  ask: (document: MadeDocument, granted: Granted) => Promise<TenantAnswer>;
  /** The same over WebSocket, whatever it is. */
  askOverWebsocket: (document: MadeDocument, granted: Granted) => Promise<TenantAnswer>;
}

const adminKey = 'the-admin-key-of-these-tests';
const answerLimitMs = 5_000;

/** Starts the gateway and gives the foreign project one of everything. */
export async function openTenantWorld(): Promise<TenantWorld> {
  await using stack = new AsyncDisposableStack();
  const fixture = stack.use(await openSchemaFixture());
  const foreign = await addBelongings(fixture, fixture.strangerId, 'leakofforeign');
  const { apiKey } = await addBelongings(fixture, fixture.projectId, 'ours');
  const gateway = await startTestGateway(
    {},
    {
      schema,
      adminKey: new Secret(adminKey),
      authenticate: async (key) => callerOf(fixture, apiKey, key),
      createContext: (caller, requestId) => contextOf(fixture, caller, requestId),
    },
  );
  stack.use(gateway);
  const owned = stack.move();
  return {
    fixture,
    foreign,
    own: async () => await addBelongings(fixture, fixture.projectId, 'ours'),
    ask: async (document, granted) => {
      const headers = headersOf(granted);
      if (document.query.startsWith('subscription')) return await askOverWebsocket(gateway, document, headers);
      return (await post(gateway, document, headers)).body;
    },
    askOverWebsocket: async (document, granted) => await askOverWebsocket(gateway, document, headersOf(granted)),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

function headersOf(granted: Granted): Record<string, string> {
  if (granted === null) return {};
  return { authorization: granted === 'ADMINISTRATOR' ? `Access ${adminKey}` : `Bearer ${keyOf(granted)}` };
}

/** The keys of these tests say themselves what they may do. */
function keyOf(granted: readonly Permission[]): string {
  return ['ours', ...granted].join('.');
}

function callerOf(fixture: SchemaFixture, apiKey: string, key: string): Caller | null {
  const granted = key.split('.').filter((text) => isPermission(text));
  const { caller } = fixture.contextOf(fixture.projectId, granted);
  return caller?.kind === 'API_KEY' ? { ...caller, apiKeyId: parseId('apiKey', apiKey) } : null;
}

/** Of the worker it has only that what somebody waits for is attempted at once, as far as the feed can tell. */
function contextOf(fixture: SchemaFixture, caller: SchemaContext['caller'], requestId: string): SchemaContext {
  return {
    ...fixture.contextOf(fixture.projectId, permissions),
    caller,
    requestId,
    enqueue: async (due, { urgency = 'normal' } = {}) => {
      if (urgency !== 'urgent') return;
      for (const { id } of due) {
        const attempt = await addAttempt(fixture, uuidOf(id), 'made at once');
        await fixture.feed.publish(fixture.projectId, [await attemptedEntry(fixture, attempt)]);
      }
    },
  };
}

async function askOverWebsocket(
  gateway: GatewayFixture,
  { query, variables }: MadeDocument,
  params: Record<string, string>,
): Promise<TenantAnswer> {
  const client = gateway.client(params);
  const { promise, resolve, reject } = Promise.withResolvers<TenantAnswer>();
  const limit = setTimeout(() => reject(new Error(`no answer within ${answerLimitMs} ms`)), answerLimitMs);
  const stop = client.subscribe<TenantAnswer['data']>(
    { query, variables },
    {
      next: ({ data, errors }) =>
        resolve(JSON.parse(JSON.stringify({ data, ...(errors === undefined ? {} : { errors }) })) as TenantAnswer),
      error: (error) => (Array.isArray(error) ? resolve({ data: null, errors: error }) : reject(asError(error))),
      complete: () => reject(new Error('the subscription ended without an answer')),
    },
  );
  try {
    return await promise;
  } finally {
    clearTimeout(limit);
    stop();
    await client.dispose();
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(JSON.stringify(error));
}
