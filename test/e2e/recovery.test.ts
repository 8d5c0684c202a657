import { expect, test } from 'vitest';
import {
  RecoverDeliveriesDocument,
  RecoveryDocument,
  ReplayEventDocument,
  ResumeWebhookDocument,
  WebhookDocument,
} from '../generated/graphql.ts';
import type { RecoverDeliveriesInput, RecoveryPartsFragment } from '../generated/graphql.ts';
import { startCrashProcesses } from '../support/crash-processes.ts';
import { countDeliveries, createWebhook, emit, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import type { ApiClient } from '../support/e2e-client.ts';
import { createStack, deploy, startOn } from '../support/e2e-stack.ts';
import { startReceiver } from '../support/receiver.ts';
import type { Receiver } from '../support/receiver.ts';

const deliveryCount = 300;
const arrivalLimitMs = 60_000;

/** A webhook whose receiver once said 410, which disabled it, and of which 300 deliveries were skipped since. */
async function missDeliveries(client: ApiClient, receiver: Receiver): Promise<string> {
  const { webhook, eventType: type } = await createWebhook(client, 'Missed', { url: receiver.url });
  const gone = await emit(client, type);
  await untilStatus(client, gone.deliveryIds[0] ?? '', 'FAILED');
  await untilFound('the webhook to be disabled', async () => {
    const { webhook: now } = await client.run(WebhookDocument, { id: webhook.id });
    return now?.status === 'DISABLED' ? true : null;
  });
  await Promise.all(Array.from({ length: deliveryCount }, async () => await emit(client, type)));
  await client.run(ResumeWebhookDocument, { id: webhook.id });
  return webhook.id;
}

/** A receiver that is gone for the first request and takes all others. */
async function startReturningReceiver(): Promise<Receiver> {
  let requestCount = 0;
  return await startReceiver(() => {
    requestCount += 1;
    return { status: requestCount === 1 ? 410 : 204 };
  });
}

async function recover(client: ApiClient, webhookId: string, input: Partial<RecoverDeliveriesInput>) {
  const { recoverDeliveries } = await client.run(RecoverDeliveriesDocument, {
    input: {
      since: new Date(Date.now() - 3_600_000).toISOString(),
      filter: { webhookIds: [webhookId], statuses: ['SKIPPED'] },
      ...input,
    },
  });
  if (!recoverDeliveries.recovery) throw new Error(JSON.stringify(recoverDeliveries.userErrors));
  return recoverDeliveries.recovery;
}

async function untilRecovery(
  client: ApiClient,
  id: string,
  isAwaited: (recovery: RecoveryPartsFragment) => boolean,
): Promise<RecoveryPartsFragment> {
  const look = async (): Promise<RecoveryPartsFragment | null> => {
    const { recovery } = await client.run(RecoveryDocument, { id });
    return recovery && isAwaited(recovery) ? recovery : null;
  };
  return await untilFound(`${id} to be so far`, look, arrivalLimitMs);
}

function eventIds(receiver: Receiver): string[] {
  return receiver.requests.slice(1).map(({ headers }) => String(headers['webhook-id']));
}

test('300 deliveries that a disabled webhook missed are counted by a dry run, then recovered, and all arrive once', async () => {
  await using posthorn = await deploy('gateway and workers on redis');
  await using client = createApiClient(posthorn, posthorn.apiKey);
  await using receiver = await startReturningReceiver();
  const webhookId = await missDeliveries(client, receiver);
  expect(await recover(client, webhookId, { dryRun: true })).toMatchObject({
    status: 'COMPLETED',
    matchedCount: deliveryCount,
    recoveredCount: 0,
  });
  expect(await countDeliveries(client, ['SKIPPED'], [webhookId])).toMatchObject({ SKIPPED: deliveryCount });
  const { id } = await recover(client, webhookId, {});
  expect(await untilRecovery(client, id, ({ status }) => status === 'COMPLETED')).toMatchObject({
    recoveredCount: deliveryCount,
    passedOverCount: 0,
    progress: 1,
  });
  await receiver.waitFor(deliveryCount + 1, arrivalLimitMs);
  await untilFound('all to be delivered', async () => {
    const { DELIVERED } = await countDeliveries(client, ['DELIVERED'], [webhookId]);
    return DELIVERED === deliveryCount ? true : null;
  });
  expect(receiver.requests).toHaveLength(deliveryCount + 1);
  expect(new Set(eventIds(receiver)).size).toBe(deliveryCount);
});

test('an event reaches a webhook that was created after it, by a replay', async () => {
  await using posthorn = await deploy('embedded');
  await using client = createApiClient(posthorn, posthorn.apiKey);
  await using receiver = await startReceiver(() => ({ status: 204 }));
  const { eventId } = await emit(client, 'config.deployed');
  const { webhook } = await createWebhook(client, 'Late', { url: receiver.url });
  const { replayEvent } = await client.run(ReplayEventDocument, { eventId, webhookId: webhook.id });
  const { attempts } = await untilStatus(client, replayEvent.delivery?.id ?? '', 'DELIVERED');
  expect(attempts.nodes).toMatchObject([{ number: 1, trigger: 'MANUAL', outcome: 'SUCCEEDED' }]);
  expect(receiver.requests.map(({ headers }) => headers['webhook-id'])).toEqual([eventId]);
});

test('a worker killed in the middle of a recovery and another one started: all arrive, and the counts are exact', async () => {
  await using stack = await createStack('redis');
  const first = await startOn(stack);
  await first.end('SIGTERM');
  await using processes = await startCrashProcesses(stack, { command: 'worker', count: 1 });
  await using client = createApiClient(processes.endpoint, first.apiKey);
  await using receiver = await startReturningReceiver();
  const webhookId = await missDeliveries(client, receiver);
  const { id } = await recover(client, webhookId, { ratePerSecond: 60 });
  await untilRecovery(client, id, ({ recoveredCount }) => recoveredCount > 0);
  await processes.kill(processes.lives);
  const { recovery } = await client.run(RecoveryDocument, { id });
  expect(recovery?.status).toBe('RUNNING');
  expect(recovery?.recoveredCount).toBeLessThan(deliveryCount);
  processes.replace();
  expect(await untilRecovery(client, id, ({ status }) => status === 'COMPLETED')).toMatchObject({
    matchedCount: deliveryCount,
    recoveredCount: deliveryCount,
    passedOverCount: 0,
  });
  await untilFound(
    'all to be delivered',
    async () =>
      (await countDeliveries(client, ['DELIVERED'], [webhookId]))['DELIVERED'] === deliveryCount ? true : null,
    arrivalLimitMs,
  );
  expect(new Set(eventIds(receiver)).size).toBe(deliveryCount);
});
