import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  AuditEntriesDocument,
  CleanupDeliveriesDocument,
  CreateAccessTokenDocument,
  CreateApiKeyDocument,
  CreateProjectDocument,
  DeliveryFeedDocument,
  ProjectDocument,
  RetryStuckDeliveriesDocument,
  RevokeApiKeyDocument,
} from '../generated/graphql.ts';
import { createWebhook, emitOne, untilStatus, watchFeed } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import type { ApiClient, Watch } from '../support/e2e-client.ts';
import { deploy } from '../support/e2e-stack.ts';
import type { RunningPosthorn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';

// From nothing but the admin key to a browser that watches, and back: what is given out is taken back everywhere.

/** How a subscription that does not go on ended: the error's message, or that it was complete. */
async function endOf(watch: Watch<unknown>): Promise<string> {
  for (;;) {
    const answer = await watch.nextAnswer().catch((error: unknown) => error);
    if (answer === null) return 'complete';
    if (answer instanceof Error) return answer.message;
  }
}

describe.each(['embedded', 'gateway and workers on redis'] as const)('administration (%s)', (deployment) => {
  const adminKey = `admin-${randomBytes(16).toString('hex')}`;
  let posthorn: RunningPosthorn;
  let administrator: ApiClient;

  beforeAll(async () => {
    posthorn = await deploy(deployment, { AGENTA_AUTH_KEY: adminKey, LOG_LEVEL: 'trace' });
    administrator = createApiClient(posthorn, adminKey, 'Access');
  });

  afterAll(async () => {
    await administrator[Symbol.asyncDispose]();
    await posthorn[Symbol.asyncDispose]();
  });

  test('a project is made, its key makes a token, a browser watches with it until the key is revoked', async () => {
    await using receiver = await startReceiver();
    const { createProject } = await administrator.run(CreateProjectDocument, { input: { name: 'Made' } });
    await using owner = createApiClient(posthorn, createProject.key ?? '');
    expect((await owner.run(ProjectDocument, {})).project).toEqual(createProject.project);

    const keyInput = { name: 'Backend', permissions: ['VIEW_WEBHOOKS' as const, 'MANAGE_WEBHOOKS' as const] };
    const { createApiKey } = await owner.run(CreateApiKeyDocument, { input: keyInput });
    await using backend = createApiClient(posthorn, createApiKey.key ?? '');
    const { createAccessToken } = await backend.run(CreateAccessTokenDocument, {
      input: { permissions: ['VIEW_WEBHOOKS'], expiresInSeconds: 60 },
    });
    await using browser = createApiClient(posthorn, createAccessToken.token ?? '');

    const { webhook, eventType } = await createWebhook(owner, 'Watched', { url: receiver.url });
    using running = await watchFeed(owner, [webhook.id]);
    using socket = browser.watch(DeliveryFeedDocument, { filter: { webhookIds: [webhook.id] } });
    using stream = browser.watchOverSse(DeliveryFeedDocument, { filter: { webhookIds: [webhook.id] } });
    const deliveryId = await emitOne(owner, eventType);
    await untilStatus(browser, deliveryId, 'DELIVERED');
    await running.until(({ change }) => change === 'DELIVERED');

    await owner.run(RevokeApiKeyDocument, { id: createApiKey.apiKey?.id ?? '' });
    expect((await browser.ask(ProjectDocument)).errors).toMatchObject([{ code: 'UNAUTHENTICATED' }]);
    expect(await endOf(socket)).toBe('the socket was closed: 4403 Forbidden');
    expect(await endOf(stream)).toBe('terminated');
    await expect(browser.askOverWebsocket(ProjectDocument)).rejects.toThrow('4403');

    const { auditEntries } = await owner.run(AuditEntriesDocument, { filter: { actions: ['createAccessToken'] } });
    const apiKey = { id: createApiKey.apiKey?.id };
    expect(auditEntries.nodes).toMatchObject([{ actorKind: 'API_KEY', apiKey, targetId: apiKey.id }]);
    const [made] = (await owner.run(AuditEntriesDocument, {})).auditEntries.nodes.slice(-1);
    const targetId = createProject.project?.id;
    expect(made).toEqual({ actorKind: 'ADMINISTRATOR', action: 'createProject', targetId, apiKey: null });

    const output = posthorn.output();
    const secrets = [adminKey, createProject.key, createApiKey.key, createAccessToken.token];
    expect(output).toContain('graphql operation');
    for (const secret of secrets) expect(output).not.toContain(secret);
  });

  test('upkeep answers over both transports', async () => {
    const { retryStuckDeliveries } = await administrator.run(RetryStuckDeliveriesDocument, { input: {} });
    expect(retryStuckDeliveries.enqueuedCount).toBe(0);
    const cleanup = await administrator.askOverWebsocket(CleanupDeliveriesDocument, { input: { olderThanDays: 1 } });
    const nothing = {
      eventCount: 0,
      deliveryCount: 0,
      attemptCount: 0,
      recoveryCount: 0,
      auditEntryCount: 0,
      finished: true,
    };
    expect(cleanup).toMatchObject({ data: { cleanupDeliveries: nothing }, errors: [] });
  });

  test('the administrator sees nothing of a project', async () => {
    const { data, errors } = await administrator.ask(ProjectDocument);
    expect([data, errors[0]?.code]).toEqual([null, 'FORBIDDEN']);
    expect(errors[0]?.message).toContain('belongs to no project');
  });
});
