import { createServer } from 'node:http';
import { once } from 'node:events';
import { request } from 'undici';
import { within } from '../../src/time-limit.ts';
import { startPosthorn } from '../support/posthorn.ts';
import type { Posthorn } from '../support/posthorn.ts';

/** Milliseconds from the emit's call to the receiver's having the whole request. */
export interface LatencyResult {
  ratePerSecond: number;
  p50Ms: number;
  p99Ms: number;
  emitP50Ms: number;
  emitP99Ms: number;
}

const warmUpCount = 200;

/** Emits over GraphQL at a steady rate to a whole running Posthorn, and measures emit → receive. */
export async function measureLatency(
  env: Record<string, string>,
  ratePerSecond: number,
  seconds: number,
): Promise<LatencyResult> {
  await using posthorn = await startPosthorn({ env: { LOG_LEVEL: 'warn', ...env } });
  const count = ratePerSecond * seconds;
  const receivedAt = new Map<number, number>();
  const all = Promise.withResolvers<null>();
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      response.writeHead(204).end();
      const body = JSON.parse(Buffer.concat(chunks).toString()) as { data: { n: number } };
      receivedAt.set(body.data.n, performance.now());
      if (receivedAt.size === warmUpCount + count) all.resolve(null);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : 0;
  await call(
    posthorn,
    `mutation { createWebhook(input: { name: "Bench", url: "http://127.0.0.1:${port}/" }) { userErrors { message } } }`,
  );
  const emits: Promise<{ n: number; startedAt: number; ms: number }>[] = [];
  const openedAt = performance.now();
  for (let n = 0; n < warmUpCount + count; n += 1) {
    const dueInMs = openedAt + (n * 1000) / ratePerSecond - performance.now();
    if (dueInMs > 0) await new Promise((resolve) => setTimeout(resolve, dueInMs));
    emits.push(emit(posthorn, n));
  }
  const emitted = (await Promise.all(emits)).filter(({ n }) => n >= warmUpCount);
  await within(20_000, 'the receiver', all.promise);
  server.close();
  server.closeAllConnections();
  const latencies = emitted.map(({ n, startedAt }) => (receivedAt.get(n) ?? Number.POSITIVE_INFINITY) - startedAt);
  return {
    ratePerSecond,
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    emitP50Ms: quantile(
      emitted.map(({ ms }) => ms),
      0.5,
    ),
    emitP99Ms: quantile(
      emitted.map(({ ms }) => ms),
      0.99,
    ),
  };
}

async function emit(posthorn: Posthorn, n: number): Promise<{ n: number; startedAt: number; ms: number }> {
  const startedAt = performance.now();
  await call(
    posthorn,
    `mutation Emit($data: JSON!) { emitEvent(input: { type: "bench.event", data: $data }) { deliveryCount } }`,
    {
      data: { n, text: 'x'.repeat(900) },
    },
  );
  return { n, startedAt, ms: performance.now() - startedAt };
}

async function call(posthorn: Posthorn, query: string, variables: object = {}): Promise<void> {
  const { body, statusCode } = await request(posthorn.graphqlUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${posthorn.apiKey}` },
    body: JSON.stringify({ query, variables }),
  });
  const answer = (await body.json()) as { errors?: unknown };
  if (statusCode !== 200 || answer.errors !== undefined) throw new Error(JSON.stringify(answer.errors));
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
