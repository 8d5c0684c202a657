import { once } from 'node:events';
import { createServer } from 'node:http';
import { clockMs } from './clock.ts';
import { quantile } from './quantile.ts';
import type { IncomingMessage, ServerResponse } from 'node:http';

// The customers' receivers, all in one process of its own. `/ok` answers 204 at once, `/after/100` after 100 ms, `/hang`
// never. What `/hang` gets is counted apart; of the rest every request is counted, distinct deliveries too, and the time
// since the stamp that the emitter put into the payload, by the tag that stands beside it.

/** What one tag's deliveries took from emit to receive; what never came counts as infinitely long. */
export interface LatencyReport {
  receivedCount: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** What the receiver has got since it started. */
export interface ReceiverReport {
  kind: 'report';
  requestCount: number;
  distinctCount: number;
  hungCount: number;
  /** From the first to the last first-time receipt. */
  spanMs: number;
  latency: Record<string, LatencyReport>;
}

type Told = { kind: 'expect'; count: number } | { kind: 'report'; expected: Record<string, number> };

/** Ports that it answers on: what connections of one origin do must not be what is measured of another. */
const originsMax = 11;

const seen = new Set<string>();
const latenciesByTag = new Map<string, number[]>();
let expectedCount = Number.POSITIVE_INFINITY;
let requestCount = 0;
let hungCount = 0;
let firstAt = 0;
let lastAt = 0;

process.once('disconnect', () => process.exit(0)); // the benchmark has ended, perhaps by a signal
const ports = await Promise.all(Array.from({ length: originsMax }, listen));
process.on('message', (told: Told) => {
  if (told.kind === 'report') process.send?.(report(told.expected));
  else {
    expectedCount = told.count;
    sayDone();
  }
});
process.send?.({ kind: 'listening', ports });

async function listen(): Promise<number> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => receive(request, response, Buffer.concat(chunks).toString()));
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return typeof address === 'object' ? (address?.port ?? 0) : 0;
}

function receive(request: IncomingMessage, response: ServerResponse, body: string): void {
  const [, kind, delay] = (request.url ?? '').split('/');
  if (kind === 'hang') {
    hungCount += 1;
    return;
  }
  if (kind === 'after') setTimeout(() => response.writeHead(204).end(), Number(delay));
  else response.writeHead(204).end();
  note(String(request.headers['x-posthorn-delivery']), body);
  sayDone();
}

function note(deliveryId: string, body: string): void {
  requestCount += 1;
  if (seen.has(deliveryId)) return;
  seen.add(deliveryId);
  lastAt = clockMs();
  if (seen.size === 1) firstAt = lastAt;
  const [, sentAt, tag = ''] = /"sentAt":([\d.]+),"tag":"([^"]*)"/.exec(body) ?? [];
  const latencies = latenciesByTag.get(tag) ?? [];
  latencies.push(lastAt - Number(sentAt));
  latenciesByTag.set(tag, latencies);
}

function sayDone(): void {
  if (seen.size < expectedCount) return;
  process.send?.({ kind: `received ${expectedCount}` }); // the count says which wait this ends, if anyone still waits
  expectedCount = Number.POSITIVE_INFINITY;
}

function report(expected: Record<string, number>): ReceiverReport {
  const latency = Object.entries(expected).map(([tag, count]): [string, LatencyReport] => {
    const received = latenciesByTag.get(tag) ?? [];
    const missing = Array.from({ length: Math.max(0, count - received.length) }, () => Number.POSITIVE_INFINITY);
    const all = [...received, ...missing];
    return [
      tag,
      {
        receivedCount: received.length,
        p50Ms: quantile(all, 0.5),
        p99Ms: quantile(all, 0.99),
        maxMs: quantile(all, 1),
      },
    ];
  });
  return {
    kind: 'report',
    requestCount,
    distinctCount: seen.size,
    hungCount,
    spanMs: lastAt - firstAt,
    latency: Object.fromEntries(latency),
  };
}
