import { randomUUID } from 'node:crypto';
import { migrate } from '../../src/stack/migrate.ts';
import { startBenchProcess } from './bench-process.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';

/** What one drain of a backlog gave. */
export interface DrainResult {
  deliveriesPerSecond: number;
  /** Requests that the receiver got beyond one per delivery. */
  duplicateCount: number;
  /** Of the worker's process alone. */
  cpuMicrosPerDelivery: number;
  rssMb: number;
  /** Rows read by sequential scans, by table: thousands of times the deliveries when plans collapse. */
  sequentialReads: Record<string, number>;
}

/** Drains `count` deliveries through the whole worker on an empty database, and checks received = accepted = recorded. */
export async function drainPosthorn(postgresUrl: string, redisUrl: string | null, count: number): Promise<DrainResult> {
  const databaseUrl = await createDatabase(postgresUrl);
  await migrate(databaseUrl);
  using receiver = startBenchProcess('receiver-process.ts');
  const { port } = await receiver.hear<{ kind: 'listening'; port: number }>('listening');
  using worker = startBenchProcess('drain-process.ts', {
    BENCH_DATABASE: databaseUrl,
    BENCH_REDIS: redisUrl ?? '',
    BENCH_RECEIVER: `http://127.0.0.1:${port}/`,
    BENCH_COUNT: String(count),
  });
  await worker.hear('ready');
  receiver.tell({ expect: count });
  await receiver.hear('expecting');
  worker.tell({ kind: 'go' });
  const received = await receiver.hear<{ kind: 'done'; requestCount: number }>('done');
  worker.tell({ kind: 'received' });
  const recorded = await worker.hear<
    { kind: 'recorded'; ms: number; attemptCount: number; deliveredCount: number } & Omit<
      DrainResult,
      'deliveriesPerSecond' | 'duplicateCount'
    >
  >('recorded');
  if (recorded.deliveredCount !== count || recorded.attemptCount !== received.requestCount) {
    throw new Error(
      `accepted ${count}, received ${received.requestCount}, attempts ${recorded.attemptCount}, delivered ${recorded.deliveredCount}`,
    );
  }
  const { cpuMicrosPerDelivery, rssMb, sequentialReads } = recorded;
  return {
    deliveriesPerSecond: (count / recorded.ms) * 1000,
    duplicateCount: received.requestCount - count,
    cpuMicrosPerDelivery,
    rssMb,
    sequentialReads,
  };
}

/** Drains `count` jobs through a bare BullMQ + undici loop without a database: the ceiling. Gives jobs per second. */
export async function drainBare(redisUrl: string, count: number): Promise<number> {
  using receiver = startBenchProcess('receiver-process.ts');
  const { port } = await receiver.hear<{ kind: 'listening'; port: number }>('listening');
  using bare = startBenchProcess('bare-process.ts', {
    BENCH_REDIS: redisUrl,
    BENCH_RECEIVER: `http://127.0.0.1:${port}/`,
    BENCH_COUNT: String(count),
  });
  await bare.hear('ready');
  receiver.tell({ expect: count });
  await receiver.hear('expecting');
  const startedAt = performance.now();
  bare.tell({ kind: 'go' });
  await receiver.hear('done');
  return (count / (performance.now() - startedAt)) * 1000;
}

async function createDatabase(postgresUrl: string): Promise<string> {
  const name = `bench_${randomUUID().replaceAll('-', '')}`;
  const client = await connectToDatabase(postgresUrl);
  await client.query(`create database ${name}`);
  await client.end();
  const url = new URL(postgresUrl);
  url.pathname = `/${name}`;
  return url.href;
}
