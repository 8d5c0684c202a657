import pino from 'pino';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { idFromUuid, uuidOf } from '../../src/domain/ids.ts';
import { migrateQueue } from '../../src/queue-backend.ts';
import { startDeliveryQueue } from '../../src/queue.ts';
import { createInProcessRateLimit } from '../../src/rate-limit/in-process-rate-limit.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { createProject } from '../../src/store/projects.ts';
import { sweep } from '../../worker/sweep.ts';
import { startWorker } from '../../worker/worker.ts';
import { openStoreFixture } from './store-fixture.ts';
import type { DeliveryStatus } from '../../src/domain/delivery.ts';
import type { WebhookId } from '../../src/domain/ids.ts';
import type { Feed } from '../../src/feed/feed.ts';
import type { DeliveryQueue } from '../../src/queue.ts';
import type { RateLimit } from '../../src/rate-limit/rate-limit.ts';
import type { WorkerSettings } from '../../worker/worker.ts';
import type { StoreFixture } from './store-fixture.ts';

// Workers as they run, on a database and a queue of their own; the clock of what repeats is the test's.

export interface WorkerFixture extends StoreFixture {
  queue: DeliveryQueue;
  feed: Feed;
  startWorker(settings?: Partial<WorkerSettings>, rateLimit?: RateLimit): Promise<AsyncDisposable>;
  /** What the clock does every few seconds. */
  sweep(): Promise<void>;
}

const settings: WorkerSettings = {
  brand: 'posthorn',
  version: '0',
  attemptTimeoutMs: 10_000,
  allowedCidrs: ['127.0.0.0/8'],
  requireHttps: false,
  retryScheduleSeconds: [3_600],
  maxAttempts: 6,
  disableAfterMs: 3_600_000,
  retentionDays: null,
  inFlightMax: 128,
  webhookInFlightMax: 64,
  jobConcurrency: 10,
  sweepIntervalMs: 3_600_000,
  sweepGraceMs: 3_600_000,
  alone: false,
};

export async function openWorkerFixture(): Promise<WorkerFixture> {
  await using opening = new AsyncDisposableStack();
  const store = opening.use(await openStoreFixture());
  const connection = { kind: 'postgres', url: store.db.pipeline.options.connectionString ?? '' } as const;
  await migrateQueue(connection);
  const queue = opening.use(await startDeliveryQueue(connection, { onError: () => {} }));
  const feed = opening.use(createInProcessFeed());
  const sharedRateLimit = opening.use(createInProcessRateLimit());
  const sweeping = { database: store.db, queue, settings: { graceMs: 3_600_000, claimLeaseMs: 60_000 } };
  const owned = opening.move();
  return {
    ...store,
    queue,
    feed,
    startWorker: async (changes = {}, rateLimit = sharedRateLimit) =>
      await startWorker({
        database: store.db,
        secretBox: store.secretBox,
        feed,
        rateLimit,
        queue,
        queueConnection: connection,
        logger: pino({ enabled: false }),
        settings: { ...settings, ...changes },
      }),
    sweep: async () => void (await sweep(sweeping, new AbortController().signal)),
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

/** The fixture with a new project to work in, whose webhooks nobody else's events reach. */
export async function inNewProject<Fixture extends StoreFixture>(fixture: Fixture): Promise<Fixture> {
  const { id } = await createProject(fixture.db, 'Its own');
  return { ...fixture, projectId: idFromUuid('project', id) };
}

/** Stores events and enqueues their deliveries, as the gateway does. */
export async function emitEvents(fixture: WorkerFixture, type: string, count: number): Promise<void> {
  const emit = createEmitter(fixture.db, settings);
  const event = { data: {}, idempotencyKey: null, occurredAt: new Date(), deliverAt: null, testWebhookId: null };
  const emitting = Array.from({ length: count }, async () => {
    const result = await emit({ ...event, projectId: fixture.projectId, type });
    if (result.kind !== 'stored') throw new Error(`the event is a ${result.kind}`);
    return result.deliveries.filter(({ held, status }) => status === 'PENDING' && !held);
  });
  await fixture.queue.enqueue((await Promise.all(emitting)).flat());
}

/** How many of the webhook's deliveries are in each status, and how many wait for it. */
export async function countByStatus(
  { db }: StoreFixture,
  webhookId: WebhookId,
): Promise<Partial<Record<DeliveryStatus | 'held', number>>> {
  const { rows } = await db.pipeline.query<{ status: DeliveryStatus | 'held'; count: number }>(
    `select case when held then 'held' else status::text end as status, count(*)::int as count
     from deliveries where webhook_id = $1 group by 1`,
    [uuidOf(webhookId)],
  );
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}

/** The webhook's row as it is. */
export async function readWebhook({ db }: StoreFixture, webhookId: WebhookId) {
  return await db.prisma.webhook.findUniqueOrThrow({ where: { id: uuidOf(webhookId) } });
}

/** Lets the wait of an open circuit be over now. */
export async function endCircuitWait({ db }: StoreFixture, webhookId: WebhookId): Promise<void> {
  await db.pipeline.query('update webhooks set circuit_open_until = now() where id = $1', [uuidOf(webhookId)]);
}
