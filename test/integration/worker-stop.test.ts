import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import pino from 'pino';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { migrateQueue } from '../../src/queue-backend.ts';
import { startDeliveryQueue } from '../../src/queue.ts';
import { createInProcessRateLimit } from '../../src/rate-limit/in-process-rate-limit.ts';
import { openDatabase } from '../../src/store/database.ts';
import { startWorker } from '../../worker/worker.ts';
import { createGate } from '../support/queue.ts';
import { startReceiver } from '../support/receiver.ts';
import { addDelivery, addWebhook, openStoreFixture, readDelivery } from '../support/store-fixture.ts';
import type { StoreFixture } from '../support/store-fixture.ts';

let fixture: StoreFixture;
let databaseUrl: string;

beforeAll(async () => {
  fixture = await openStoreFixture();
  databaseUrl = fixture.db.pipeline.options.connectionString ?? '';
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());

test('a worker that stops finishes what is under way and leaves to others what has not begun', async () => {
  const connection = { kind: 'postgres', url: databaseUrl } as const;
  await migrateQueue(connection);
  await using queue = await startDeliveryQueue(connection, { onError: () => {} });
  await using feed = createInProcessFeed();
  await using rateLimit = createInProcessRateLimit();
  const gate = createGate();
  await using receiver = await startReceiver(async () => {
    await gate.opened;
    return {};
  });
  const webhookId = await addWebhook(fixture, { url: receiver.url });
  const ids = [await addDelivery(fixture, webhookId), await addDelivery(fixture, webhookId)];
  const start = async (): Promise<AsyncDisposable> =>
    await startWorker({
      database: fixture.db,
      secretBox: fixture.secretBox,
      feed,
      rateLimit,
      queue,
      queueConnection: connection,
      logger: pino({ enabled: false }),
      settings: {
        brand: 'posthorn',
        version: '0',
        attemptTimeoutMs: 10_000,
        allowedCidrs: ['127.0.0.0/8'],
        requireHttps: false,
        retryScheduleSeconds: [60],
        maxAttempts: 6,
        disableAfterMs: 3_600_000,
        retentionDays: null,
        inFlightMax: 1,
        webhookInFlightMax: 512,
        jobConcurrency: 10,
        sweepIntervalMs: 3_600_000,
        sweepGraceMs: 3_600_000,
        alone: false,
      },
    });
  const first = await start();
  for (const id of ids) await queue.enqueue([{ id, webhookId }]);
  await receiver.waitFor(1);
  const stopped = first[Symbol.asyncDispose]();
  gate.open();
  await stopped;
  const statuses = await Promise.all(ids.map(async (id) => (await readDelivery(fixture, id)).status));
  expect(statuses.toSorted()).toEqual(['DELIVERED', 'PENDING']);
  await using _second = await start();
  await receiver.waitFor(2);
});

test('a database that falls silent fails a query in time, and the next one gets a new connection', async () => {
  const target = new URL(databaseUrl);
  const sockets: Socket[] = [];
  const relay = createServer((incoming) => {
    const outgoing = connect(Number(target.port), target.hostname);
    for (const socket of [incoming, outgoing]) socket.on('error', () => {});
    sockets.push(incoming, outgoing);
    incoming.pipe(outgoing).pipe(incoming);
  }).listen(0, '127.0.0.1');
  await once(relay, 'listening');
  const address = relay.address();
  const url = new URL(databaseUrl);
  url.host = `127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`;
  await using database = openDatabase(url.href, { statementTimeoutMs: 200 });
  await database.pipeline.query('select 1');
  for (const socket of sockets) socket.unpipe().pause();
  await expect(database.pipeline.query('select 1')).rejects.toThrow('timeout');
  await vi.waitFor(async () => expect((await database.pipeline.query('select 1')).rowCount).toBe(1));
  for (const socket of sockets) socket.destroy();
  relay.close();
});
