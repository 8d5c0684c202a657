import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import {
  CleanupDeliveriesDocument,
  CreateProjectDocument,
  RetryStuckDeliveriesDocument,
} from '../generated/graphql.ts';
import { openPipelines } from '../../src/store/pipelines.ts';
import { createWebhook, emitOne, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { Answer } from '../support/e2e-client.ts';
import { createStack, startOn } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { countHistory, loseClaims, storeHistory } from '../support/history.ts';
import { startPosthorn } from '../support/posthorn.ts';
import type { Posthorn } from '../support/posthorn.ts';
import { startReceiver } from '../support/receiver.ts';

// Every call of the administrator, over HTTP and as a mutation, with a wrong key, no key, a project's key and the right one.

const adminKey = `admin-${randomBytes(16).toString('hex')}`;
const disposables = new AsyncDisposableStack();
let stack: E2eStack;
let posthorn: Posthorn;
let pipelines: ReturnType<typeof openPipelines>;

beforeAll(async () => {
  stack = disposables.use(
    await createStack('redis', { AGENTA_AUTH_KEY: adminKey, SWEEP_INTERVAL: '3600', LOG_LEVEL: 'info' }),
  );
  posthorn = disposables.use(await startOn(stack));
  pipelines = disposables.use(openPipelines(stack.env['DATABASE_URL'] ?? ''));
});
afterAll(async () => await disposables.disposeAsync());

const removes = (count: number): object => ({ eventCount: count, deliveryCount: count, attemptCount: 2 * count });
const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);

async function post(path: string, authorization: string | null): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`${new URL(posthorn.graphqlUrl).origin}/admin/webhooks/${path}`, {
    method: 'POST',
    headers: authorization === null ? {} : { authorization },
  });
  return { status: response.status, body: await response.json() };
}

/** The mutations as whoever has the key calls them. */
const mutations: Readonly<Record<string, (client: ReturnType<typeof createApiClient>) => Promise<Answer>>> = {
  createProject: async (client) => await client.ask(CreateProjectDocument, { input: { name: 'Made' } }),
  retryStuckDeliveries: async (client) => await client.ask(RetryStuckDeliveriesDocument, { input: {} }),
  cleanupDeliveries: async (client) => await client.ask(CleanupDeliveriesDocument, { input: { olderThanDays: 1 } }),
};
const paths = ['cleanup?days=1', 'retry-stuck', 'sweep'];

describe('who has not the admin key can have nothing done', () => {
  const refused = [
    ['no key', null, 'Access', 'UNAUTHENTICATED'],
    ['a wrong key', 'wrong', 'Access', 'UNAUTHENTICATED'],
    ['the admin key as an API key', adminKey, 'Bearer', 'UNAUTHENTICATED'],
    ['the key of a project', 'project', 'Bearer', 'FORBIDDEN'],
  ] as const;

  test.each(refused)('with %s', async (_title, given, scheme, code) => {
    const status = code === 'FORBIDDEN' ? 403 : 401;
    await storeHistory(pipelines, { at: daysAgo(400) });
    const key = given === 'project' ? posthorn.apiKey : given;
    for (const path of paths) {
      const answer = await post(path, key === null ? null : `${scheme} ${key}`);
      expect(answer).toMatchObject({ status, body: { errors: [{ extensions: { code } }] } });
    }
    await using client = createApiClient(posthorn, key, scheme);
    for (const [name, call] of Object.entries(mutations)) {
      const { data, errors } = await call(client);
      expect([name, data, errors.map((error) => error.code)]).toEqual([name, null, [code]]);
    }
    expect((await countHistory(pipelines)).events).toBe(1);
    await pipelines.pipeline.query('truncate events, deliveries, attempts');
  });

  test('and where there is no admin key, nobody', async () => {
    await using without = await startPosthorn();
    const url = `${new URL(without.graphqlUrl).origin}/admin/webhooks/sweep`;
    const response = await fetch(url, { method: 'POST', headers: { authorization: `Access ${adminKey}` } });
    expect([response.status, await response.text()]).toEqual([404, expect.stringContaining('POSTHORN_ADMIN_KEY')]);
  });
});

describe('with the admin key', () => {
  test.each(['http', 'mutation'] as const)('a cleanup by %s removes what is older than its days alone', async (way) => {
    await pipelines.pipeline.query('truncate events, deliveries, attempts');
    for (const days of [0, 1.5, 3, 29, 31, 3_649, 3_651]) await storeHistory(pipelines, { at: daysAgo(days) });
    await using client = createApiClient(posthorn, adminKey, 'Access');
    const clean = async (days?: number): Promise<unknown> => {
      if (way === 'http')
        return (await post(`cleanup${days === undefined ? '' : `?days=${days}`}`, `Access ${adminKey}`)).body;
      const input = days === undefined ? {} : { olderThanDays: days };
      return (await client.run(CleanupDeliveriesDocument, { input })).cleanupDeliveries;
    };
    expect(await clean(3_650)).toMatchObject({ ...removes(1), finished: true });
    expect(await clean()).toMatchObject(removes(2)); // 30, the default
    expect(await clean(2)).toMatchObject(removes(2));
    expect(await clean(1)).toMatchObject(removes(1));
    expect(await clean(1)).toMatchObject(removes(0));
    expect((await countHistory(pipelines)).events).toBe(1);
  });

  test.each([0, -1, 3_651])('%i days are refused by both ways', async (days) => {
    await using client = createApiClient(posthorn, adminKey, 'Access');
    expect(await post(`cleanup?days=${days}`, `Access ${adminKey}`)).toMatchObject({
      status: 400,
      body: { errors: [{ message: `days must be a whole number from 1 to 3650, not "${days}".` }] },
    });
    const { cleanupDeliveries } = await client.run(CleanupDeliveriesDocument, { input: { olderThanDays: days } });
    expect(cleanupDeliveries).toMatchObject({ finished: null, userErrors: [{ code: 'INVALID_DAYS' }] });
  });

  test('stuck deliveries go out by HTTP and by mutation, and overdue ones by a sweep', async () => {
    await using receiver = await startReceiver();
    await using owner = createApiClient(posthorn, posthorn.apiKey);
    await using administrator = createApiClient(posthorn, adminKey, 'Access');
    const { webhook, eventType } = await createWebhook(owner, 'Stuck', { url: receiver.url });
    const again = {
      'retry-stuck': async () => (await post('retry-stuck?limit=1', `Access ${adminKey}`)).body,
      mutation: async () => (await administrator.run(RetryStuckDeliveriesDocument, { input: {} })).retryStuckDeliveries,
      sweep: async () => (await post('sweep', `Access ${adminKey}`)).body,
    };
    for (const [way, call] of Object.entries(again)) {
      const id = await emitOne(owner, eventType);
      await untilStatus(owner, id, 'DELIVERED');
      await loseClaims(pipelines, webhook.id, way === 'sweep' ? 'PENDING' : 'DELIVERING');
      expect([way, await call()]).toEqual([way, expect.objectContaining({ enqueuedCount: 1 })]);
      await untilStatus(owner, id, 'DELIVERED');
    }
    expect(receiver.requests).toHaveLength(6);
  });

  test('each call over HTTP is a line of the log, and no key is in it', async () => {
    await post('sweep', `Access ${adminKey}`);
    await vi.waitFor(() => expect(posthorn.output()).toContain('"path":"/admin/webhooks/sweep"'), 5_000);
    expect(posthorn.output()).not.toContain(adminKey);
  });
});
