import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createWebhook, emitOne, untilStatus } from '../support/e2e-calls.ts';
import { createApiClient } from '../support/e2e-client.ts';
import { openPipelines } from '../../src/store/pipelines.ts';
import { startOn, createStack } from '../support/e2e-stack.ts';
import type { E2eStack } from '../support/e2e-stack.ts';
import { countHistory, loseClaims, storeHistory } from '../support/history.ts';
import { createDataFolder, runPosthorn, startPosthorn } from '../support/posthorn.ts';
import { startReceiver } from '../support/receiver.ts';

const daysAgo = (days: number): Date => new Date(Date.now() - days * 86_400_000);

/** Runs a command to its end, and gives its exit code and what it printed. */
async function run(env: Record<string, string>, ...args: string[]): Promise<{ code: number | null; output: string }> {
  const running = runPosthorn(args, env);
  const { code } = await running.ended;
  return { code, output: running.output().trim() };
}

const nothing = '0 events, 0 deliveries, 0 attempts, 0 recoveries and 0 audit entries';

describe('upkeep by hand beside a running embedded Posthorn', () => {
  test('each command works on its database, and says what it did', async () => {
    await using posthorn = await startPosthorn();
    const env = { POSTHORN_DATA: posthorn.dataFolder };
    expect(await run(env, 'cleanup')).toEqual({
      code: 0,
      output: `Removed ${nothing} that ended more than 30 days ago.`,
    });
    expect(await run(env, 'sweep')).toEqual({ code: 0, output: 'Gave 0 overdue deliveries to the workers.' });
    expect(await run(env, 'retry-stuck', '--limit', '5', '--json')).toEqual({ code: 0, output: '{"enqueuedCount":0}' });
  });
});

test('where nothing runs, the embedded database is started for the command, and can be started after it', async () => {
  await using folder = await createDataFolder();
  const env = { POSTHORN_DATA: folder.path };
  expect(await run(env, 'sweep', '--json')).toEqual({ code: 0, output: '{"enqueuedCount":0}' });
  await using _posthorn = await startPosthorn({ dataFolder: folder.path });
});

describe('upkeep by hand on DATABASE_URL', () => {
  let stack: E2eStack;
  let pipelines: ReturnType<typeof openPipelines>;

  beforeAll(async () => {
    stack = await createStack('redis', { SWEEP_INTERVAL: '3600' });
    pipelines = openPipelines(stack.env['DATABASE_URL'] ?? '');
  });

  afterAll(async () => {
    await pipelines[Symbol.asyncDispose]();
    await stack[Symbol.asyncDispose]();
  });

  test('says to migrate first', async () => {
    const { code, output } = await run(stack.env, 'cleanup');
    expect([code, output]).toEqual([1, expect.stringMatching(/ is not up to date: run `posthorn migrate` first\.$/)]);
    expect((await run(stack.env, 'migrate')).code).toBe(0);
  });

  test('a cleanup removes what is older than the days, and nothing else', async () => {
    await storeHistory(pipelines, { count: 3, at: daysAgo(40) });
    await storeHistory(pipelines, { count: 2, at: daysAgo(10) });
    await storeHistory(pipelines, { at: daysAgo(40), statuses: ['RETRYING'], finishedAt: null, attemptCount: 0 });
    const { code, output } = await run(stack.env, 'cleanup', '--json');
    expect(code).toBe(0);
    const counts = { eventCount: 3, deliveryCount: 3, attemptCount: 6, recoveryCount: 0, auditEntryCount: 0 };
    expect(JSON.parse(output)).toEqual({ days: 30, ...counts, finished: true });
    expect((await run(stack.env, 'cleanup', '--days', '5')).output).toBe(
      'Removed 2 events, 2 deliveries, 4 attempts, 0 recoveries and 0 audit entries that ended more than 5 days ago.',
    );
    expect(await countHistory(pipelines)).toEqual({ events: 1, deliveries: 1, attempts: 0 });
  });

  test.each([
    [['cleanup', '--days', '0'], '--days "0" must be a whole number from 1 to 3650.'],
    [['retry-stuck', '--limit', '10001'], '--limit "10001" must be a whole number from 1 to 10000.'],
  ])('refuses %j with its value', async (args, message) => {
    expect(await run(stack.env, ...args)).toEqual({ code: 1, output: `posthorn: ${message}` });
  });

  test('has to be told how old where history is kept for ever', async () => {
    const { code, output } = await run({ ...stack.env, WEBHOOK_RETENTION_DAYS: '0' }, 'cleanup');
    expect([code, output]).toEqual([1, expect.stringContaining('--days must be given')]);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)(
    '%s stops a cleanup between steps, and it says how far it came',
    async (signal) => {
      await storeHistory(pipelines, { count: 20_000, at: daysAgo(100), attemptCount: 0 });
      const running = runPosthorn(['cleanup', '--json'], stack.env);
      await vi.waitFor(async () => expect((await countHistory(pipelines)).deliveries).toBeLessThan(20_000), 20_000);
      running.process.kill(signal);
      expect(await running.ended).toEqual({ code: 1, signal: null });
      const { deliveryCount, finished } = JSON.parse(running.output());
      expect([deliveryCount > 0, finished]).toEqual([true, false]);
      expect((await run(stack.env, 'cleanup')).code).toBe(0);
      expect((await countHistory(pipelines)).events).toBe(1);
    },
  );

  test('what a dead worker took goes out by retry-stuck, and what nobody took by sweep', async () => {
    await pipelines.pipeline.query('truncate events, deliveries, attempts');
    await using receiver = await startReceiver();
    await using posthorn = await startOn(stack);
    await using client = createApiClient(posthorn, posthorn.apiKey);
    const { webhook, eventType } = await createWebhook(client, 'Stuck', { url: receiver.url });
    for (const [command, status] of [
      ['retry-stuck', 'DELIVERING'],
      ['sweep', 'PENDING'],
    ] as const) {
      const id = await emitOne(client, eventType);
      await untilStatus(client, id, 'DELIVERED');
      await loseClaims(pipelines, webhook.id, status);
      expect(await run(stack.env, command, '--json')).toEqual({ code: 0, output: '{"enqueuedCount":1}' });
      await untilStatus(client, id, 'DELIVERED');
    }
    expect(receiver.requests).toHaveLength(4);
  });
});
