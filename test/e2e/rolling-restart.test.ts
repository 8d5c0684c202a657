import { setTimeout as after } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openDatabase } from '../../src/store/database.ts';
import type { Database } from '../../src/store/database.ts';
import { startBalancer } from '../support/balancer.ts';
import { createWebhook } from '../support/e2e-calls.ts';
import { createApiClient, untilFound } from '../support/e2e-client.ts';
import { startReceiver } from '../support/receiver.ts';
import {
  createTally,
  emitOverWebsocket,
  emitThroughBalancer,
  emitToGateways,
  watchThroughRestarts,
} from '../support/rolling-clients.ts';
import { createSharedStack, startRole } from '../support/roles.ts';
import { findSteadyPort } from '../support/steady-port.ts';
import type { Role } from '../support/roles.ts';

const endLimitMs = 45_000;
/** What is emitted at least between one restart and the next. */
const eventsBetween = 40;
const slowestAnswerMs = 60;

interface Member {
  command: 'gateway' | 'worker';
  env: Record<string, string>;
  role: Role;
}

async function countRows(database: Database, sql: string): Promise<number> {
  const { rows } = await database.pipeline.query<{ count: number }>(sql);
  return rows[0]?.count ?? Number.NaN;
}

/** SIGTERM, and a new one in its place as soon as it has ended well. */
async function replace(member: Member): Promise<void> {
  expect(await member.role.end()).toEqual({ code: 0, signal: null });
  member.role = await startRole(member.command, member.env);
}

test('gateways and workers are replaced one by one under load: no emit fails, nothing is lost, sent twice or missed in the feed', async () => {
  await using stack = await createSharedStack({ POSTHORN_STOP_DELAY: '2' });
  await using database = openDatabase(stack.env['DATABASE_URL'] ?? '');
  await using receiver = await startReceiver(async (_request, index) => {
    await after((index * 7) % slowestAnswerMs);
    return {};
  });
  const ports = [await findSteadyPort(), await findSteadyPort()];
  const urls = ports.map((port) => `http://127.0.0.1:${port}`);
  const gateways = ports.map((port) => ({ command: 'gateway' as const, env: { ...stack.env, PORT: String(port) } }));
  const workers = [0, 1].map(() => ({ command: 'worker' as const, env: stack.env }));
  const members: Member[] = await Promise.all(
    [...gateways, ...workers].map(async ({ command, env }) => ({ command, env, role: await startRole(command, env) })),
  );
  await using ending = new AsyncDisposableStack();
  ending.defer(async () => void (await Promise.all(members.map(async ({ role }) => await role.end()))));
  await using balancer = await startBalancer(ports);

  const client = createApiClient({ graphqlUrl: `${balancer.url}/graphql`, websocketUrl: '' }, stack.apiKey);
  const { eventType } = await createWebhook(client, 'Rolling', { url: receiver.url });
  const { data } = await client.ask<{ feedCursor: string }>('{ feedCursor }');
  const cursor = data?.feedCursor ?? '';
  const key = stack.apiKey;

  const watching = new AbortController();
  const watchers = urls.flatMap((url, place) =>
    (['websocket', 'sse'] as const).map((transport) =>
      watchThroughRestarts([url, urls[1 - place] ?? ''], transport, { key, cursor, signal: watching.signal }),
    ),
  );
  const emitting = new AbortController();
  const tally = createTally();
  const balanced = createTally();
  const options = { key, eventType, tally, signal: emitting.signal };
  const emitters = Promise.all([
    emitThroughBalancer(balancer.url, { ...options, tally: balanced }),
    emitThroughBalancer(balancer.url, { ...options, tally: balanced }),
    emitToGateways(urls, 'direct-1', options),
    emitToGateways(urls.toReversed(), 'direct-2', options),
    emitOverWebsocket(urls, 'websocket-1', options),
    emitOverWebsocket(urls.toReversed(), 'websocket-2', options),
  ]);
  const acceptedCount = (): number => tally.acceptedIds.size + balanced.acceptedIds.size;
  const untilMore = async (): Promise<void> => {
    const target = acceptedCount() + eventsBetween;
    await untilFound('more events', async () => (acceptedCount() >= target ? true : null), endLimitMs);
  };

  for (const member of members) {
    await untilMore();
    await replace(member);
  }
  await untilMore();
  emitting.abort();
  await emitters;

  const open = `select count(*)::int as count from deliveries where status <> 'DELIVERED'`;
  await untilFound(
    'all to be delivered',
    async () => ((await countRows(database, open)) === 0 ? true : null),
    endLimitMs,
  );
  const head = Number((await client.ask<{ feedCursor: string }>('{ feedCursor }')).data?.feedCursor.split('-')[1]);
  await untilFound(
    'the watchers to have seen all',
    async () =>
      watchers.every(({ numbers, refusals }) => refusals.length > 0 || numbers.at(-1) === head) ? true : null,
    endLimitMs,
  );
  watching.abort();
  await Promise.all(watchers.map(async ({ done }) => await done));

  process.stdout.write(
    `rolling restart: ${acceptedCount()} events, ${tally.repeatedCount} sent again with their key, slowest emit ` +
      `${Math.round(balanced.slowestMs)} ms behind the balancer, ${Math.round(tally.slowestMs)} ms direct, ${head} feed items, ` +
      `${watchers.map(({ connectionCount }) => connectionCount).join(', ')} connections of the watchers\n`,
  );
  expect({ failures: tally.failures, balanced: balanced.failures }).toEqual({ failures: [], balanced: [] });
  expect(await countRows(database, 'select count(*)::int as count from events')).toBe(acceptedCount());
  expect(await countRows(database, 'select count(*)::int as count from attempts')).toBe(acceptedCount());
  expect(receiver.requests).toHaveLength(acceptedCount());
  expect(new Set(receiver.requests.map(({ headers }) => headers['x-posthorn-delivery'])).size).toBe(acceptedCount());
  const first = Number(cursor.split('-')[1]) + 1;
  for (const { numbers, epochs, refusals, connectionCount } of watchers) {
    expect(refusals).toEqual([]);
    expect(epochs.size).toBe(1);
    expect(numbers).toEqual(Array.from({ length: head - first + 1 }, (_, index) => first + index));
    expect(connectionCount).toBeGreaterThan(1);
  }
}, 240_000);
