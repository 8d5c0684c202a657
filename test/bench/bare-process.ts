import { createHmac } from 'node:crypto';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { Agent } from 'undici';

// The ceiling: a bare BullMQ worker that signs and sends with undici's dispatch, a job per delivery, without a database.

const { BENCH_REDIS = '', BENCH_RECEIVER = '', BENCH_COUNT = '0', BENCH_CONCURRENCY = '100' } = process.env;
const count = Number(BENCH_COUNT);
const name = `bare-${process.pid}`;
const connection = new Redis(BENCH_REDIS, { maxRetriesPerRequest: null });
const queue = new Queue(name, { connection });
const agent = new Agent({ connections: Number(BENCH_CONCURRENCY), pipelining: 1 });
const body = JSON.stringify({ id: 'evt', type: 'bench.event', data: { text: 'x'.repeat(900) } });
// A text key: with bytes createHmac takes 27 µs instead of 6, and the ceiling would flatter us.
const secret = Buffer.alloc(32, 1).toString('latin1');

for (let first = 0; first < count; first += 1000) {
  const size = Math.min(1000, count - first);
  await queue.addBulk(
    Array.from({ length: size }, (_, index) => ({
      name: 'd',
      data: { id: `d${first + index}` },
      opts: { removeOnComplete: true },
    })),
  );
}
process.send?.({ kind: 'ready' });
process.once('message', () => {
  const worker = new Worker<{ id: string }>(name, async (job) => await post(job.data.id), {
    connection: connection.duplicate(),
    concurrency: Number(BENCH_CONCURRENCY),
  });
  worker.on('failed', (_job, error) => {
    throw error;
  });
});

async function post(id: string): Promise<void> {
  const timestamp = Math.floor(Date.now() / 1000);
  const signature = createHmac('sha256', secret).update(`${id}.${timestamp}.${body}`).digest('base64');
  await new Promise<void>((resolve, reject) => {
    agent.dispatch(
      {
        origin: BENCH_RECEIVER,
        path: '/',
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
