import { createHmac } from 'node:crypto';
import { Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { Agent } from 'undici';
import { bareQueueName } from './bare-job.ts';
import { watchUsage } from './usage.ts';
import type { BareJob } from './bare-job.ts';

// The ceiling: a bare BullMQ worker that signs and sends with undici's dispatch, a job per delivery, without a database.

const { BENCH_REDIS = '', BENCH_RECEIVER = '', BENCH_CONCURRENCY = '' } = process.env;
const concurrency = Number(BENCH_CONCURRENCY);
const agent = new Agent({ connections: concurrency, pipelining: 1 });
// A text key: with bytes createHmac takes 27 µs instead of 6, and the ceiling would flatter us.
const secret = Buffer.alloc(32, 1).toString('latin1');

watchUsage();
const worker = new Worker<BareJob>(bareQueueName, async (job) => await post(job.data), {
  connection: new Redis(BENCH_REDIS, { maxRetriesPerRequest: null }),
  concurrency,
});
worker.on('failed', (_job, error) => {
  throw error;
});
await worker.waitUntilReady();
process.send?.({ kind: 'ready', url: null });

async function post({ id, path, body }: BareJob): Promise<void> {
  const timestamp = Math.floor(Date.now() / 1000);
  const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64');
  await new Promise<void>((resolve, reject) => {
    agent.dispatch(
      {
        origin: BENCH_RECEIVER,
        path,
        method: 'POST',
        body,
        headers: {
          'content-type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': `v1,${signature}`,
          'x-posthorn-delivery': id,
        },
      },
      {
        onRequestStart: () => undefined,
        onResponseStart: () => undefined,
        onResponseData: () => undefined,
        onResponseEnd: () => resolve(),
        onResponseError: (_controller, error) => reject(error),
      },
    );
  });
}
