import { pino } from 'pino';
import { randomBytes } from 'node:crypto';
import { startWorker } from '../../worker/worker.ts';
import { idFromUuid } from '../../src/domain/ids.ts';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { startRedisFeed } from '../../src/feed/redis-feed.ts';
import { migrateQueue } from '../../src/queue-backend.ts';
import { startDeliveryQueue } from '../../src/queue.ts';
import { createInProcessRateLimit } from '../../src/rate-limit/in-process-rate-limit.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createEmitter } from '../../src/store/emit-event.ts';
import { ledger } from '../../src/store/ledger.ts';
import { createProject } from '../../src/store/projects.ts';
import { createSecretBox } from '../../src/store/secret-box.ts';
import { createWebhook } from '../../src/store/webhooks.ts';
import type { Feed } from '../../src/feed/feed.ts';
import type { QueueConnection } from '../../src/queue.ts';

// The running system's worker on a backlog: emits, says { ready }, and told to go delivers everything, feed included.

const { BENCH_DATABASE = '', BENCH_REDIS = '', BENCH_RECEIVER = '', BENCH_COUNT = '0' } = process.env;
const count = Number(BENCH_COUNT);
const logger = pino({ level: 'warn' });
const onError = (error: unknown): void => logger.error({ err: error }, 'bench');
const database = openDatabase(BENCH_DATABASE);
const secretBox = createSecretBox([{ id: 'bench', key: randomBytes(32) }]);
const feed =
  BENCH_REDIS === '' ? createInProcessFeed() : await startRedisFeed({ url: BENCH_REDIS, keyPrefix: 'bench:', onError });
let announcedCount = 0;
const allAnnounced = Promise.withResolvers<null>();
const countingFeed: Feed = {
  publish: async (project, entries) => {
    await feed.publish(project, entries);
    announcedCount += entries.length;
    if (announcedCount === count) allAnnounced.resolve(null);
  },
  subscribe: async (project, options) => await feed.subscribe(project, options),
  ping: async () => await feed.ping(),
  [Symbol.asyncDispose]: async () => await feed[Symbol.asyncDispose](),
};
const queueConnection: QueueConnection =
  BENCH_REDIS === '' ? { kind: 'postgres', url: BENCH_DATABASE } : { kind: 'redis', url: BENCH_REDIS };
await migrateQueue(queueConnection);
const queue = await startDeliveryQueue(queueConnection, { onError });
const projectId = idFromUuid('project', (await createProject(database, 'Bench')).id);
await createWebhook(database, secretBox, projectId, {
  name: 'Bench',
  description: null,
  url: BENCH_RECEIVER,
  eventTypes: ['*'],
  headers: [],
  signatureStyle: 'STANDARD_WEBHOOKS',
  signAsymmetrically: false,
  maxAttempts: null,
  retrySchedule: [],
  rateLimitPerSecond: null,
});
const emitEvent = createEmitter(database, { maxAttempts: 6 });
const emitStartedAt = performance.now();
for (let first = 0; first < count; first += 500) {
  const results = await Promise.all(Array.from({ length: Math.min(500, count - first) }, async () => await emitOne()));
  await queue.enqueue(results.flatMap((result) => (result.kind === 'stored' ? result.deliveries : [])));
}
const emitMs = performance.now() - emitStartedAt;
process.send?.({ kind: 'ready', emitMs });
process.once('message', () => void drain());

async function drain(): Promise<void> {
  const startedAt = performance.now();
  const cpuBefore = process.cpuUsage();
  await startWorker({
    database,
    secretBox,
    feed: countingFeed,
    rateLimit: createInProcessRateLimit(),
    queue,
    queueConnection,
    logger,
    settings: {
      brand: 'posthorn',
      version: 'bench',
      attemptTimeoutMs: 10_000,
      allowedCidrs: ['127.0.0.0/8'],
      requireHttps: false,
      retryScheduleSeconds: [1],
      maxAttempts: 6,
      disableAfterMs: 3_600_000,
      inFlightMax: Number(process.env['BENCH_IN_FLIGHT'] ?? '400'),
      webhookInFlightMax: 512,
      jobConcurrency: 64,
      sweepIntervalMs: 5_000,
      sweepGraceMs: 10_000,
      alone: false,
    },
  });
  process.once('message', () => void report(startedAt, cpuBefore));
}

async function report(startedAt: number, cpuBefore: NodeJS.CpuUsage): Promise<void> {
  // The receiver has them all: what is still to come is the last records and announcements.
  await allAnnounced.promise;
  const ms = performance.now() - startedAt;
  const cpu = process.cpuUsage(cpuBefore);
  // Sessions report their scans a second after their last statement.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  const { rows } = await database.pipeline.query<{ relname: string; seq_tup_read: string }>(
    `select relname, seq_tup_read from pg_stat_user_tables where relname in ('events', 'deliveries', 'attempts')`,
  );
  const recorded = await ledger(database, projectId);
  const attemptCount = await database.prisma.attempt.count();
  process.send?.({
    kind: 'recorded',
    ms,
    cpuMicrosPerDelivery: (cpu.user + cpu.system) / count,
    attemptCount,
    deliveredCount: recorded.counts.DELIVERED,
    rssMb: Math.round(process.memoryUsage().rss / 1e6),
    sequentialReads: Object.fromEntries(rows.map((row) => [row.relname, Number(row.seq_tup_read)])),
  });
  setTimeout(() => process.exit(0), 50);
}

async function emitOne(): ReturnType<typeof emitEvent> {
  return await emitEvent({
    projectId,
    type: 'bench.event',
    data: { text: 'x'.repeat(900) },
    idempotencyKey: null,
    occurredAt: new Date(),
    deliverAt: null,
    testWebhookId: null,
  });
}
