import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { clockMs } from './clock.ts';
import { feedQuery } from './feed-entries.ts';
import { FrameCounter } from './frame-counter.ts';
import { quantile } from './quantile.ts';
import type { Socket } from 'node:net';

// The subscribers, in a process of their own. They count frames by their headers; of one in fifty every message is read
// and checked: its id, and that its cursor is the next.

/** What was seen since the last report. */
export interface FeedClientsReport {
  kind: 'report';
  /** Of the messages that were read: from publishing to here. */
  p50Ms: number;
  p99Ms: number;
  readCount: number;
  /** The last message that was read. */
  sample: string;
  problems: string[];
}

interface Subscriber {
  socket: Socket;
  counter: FrameCounter;
}

const connectionsAtOnce = 50;
const readOneOf = 50;
const kind = process.env['BENCH_KIND'] ?? '';
const port = Number(process.env['BENCH_PORT']);
const after = process.env['BENCH_AFTER'];
const subscribers: Subscriber[] = [];
const problems: string[] = [];
let latencies: number[] = [];
let sample = '';
/** The next message count that the benchmark waits for, and how many subscribers are not there yet. */
let expected = { count: 0, missing: 0 };

process.once('disconnect', () => process.exit(0)); // the benchmark has ended, perhaps by a signal
process.on('message', (told: { kind: string; count?: number }) => void answer(told));
process.send?.({ kind: 'ready' });

async function answer({ kind: asked, count = 0 }: { kind: string; count?: number }): Promise<void> {
  if (asked === 'connect') await connectAll(count);
  if (asked === 'expect') expect(count);
  if (asked === 'report') report();
}

async function connectAll(count: number): Promise<void> {
  for (let index = 0; index < count; index += connectionsAtOnce) {
    const size = Math.min(connectionsAtOnce, count - index);
    subscribers.push(...(await Promise.all(Array.from({ length: size }, async (_, at) => await open(index + at)))));
  }
  process.send?.({ kind: 'connected' });
}

async function open(index: number): Promise<Subscriber> {
  const id = randomUUID();
  const socket = connect(port, '127.0.0.1');
  socket.on('error', (error) => problems.push(String(error)));
  socket.write(
    'GET /graphql HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n' +
      'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n',
  );
  await once(socket, 'data');
  socket.write(maskedText(JSON.stringify({ type: 'connection_init', payload: { authorization: 'Bearer bench' } })));
  await once(socket, 'data');
  if (kind !== 'raw') {
    // Behind a place: nobody says when a subscription has begun.
    const payload = { query: feedQuery, variables: { after } };
    socket.write(maskedText(JSON.stringify({ id, type: 'subscribe', payload })));
  }
  const check = index % readOneOf === 0 ? createCheck(id) : null;
  const counter = new FrameCounter(check);
  socket.on('data', (chunk) => {
    const before = counter.count;
    counter.take(chunk);
    if (before < expected.count && counter.count >= expected.count) arrive();
  });
  return { socket, counter };
}

/** Gives what reads a subscriber's messages. */
function createCheck(id: string): (text: string) => void {
  let last: number | null = null;
  return (text) => {
    const message = JSON.parse(text) as {
      id: string;
      payload: { data: { deliveryFeed: { cursor: string; attempt: { errorMessage: string } } } };
    };
    const { cursor, attempt } = message.payload.data.deliveryFeed;
    const n = Number(cursor.split('-')[1]);
    if (kind !== 'raw' && (message.id !== id || (last !== null && n !== last + 1)))
      problems.push(`after ${last}: ${text}`);
    last = n;
    sample = text;
    latencies.push(clockMs() - Number(attempt.errorMessage));
  };
}

function expect(count: number): void {
  expected = { count, missing: subscribers.filter(({ counter }) => counter.count < count).length };
  if (expected.missing === 0) process.send?.({ kind: `reached ${count}` });
}

function arrive(): void {
  expected.missing -= 1;
  if (expected.missing === 0) process.send?.({ kind: `reached ${expected.count}` });
}

function report(): void {
  const said: FeedClientsReport = {
    kind: 'report',
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    readCount: latencies.length,
    sample,
    problems: problems.splice(0).slice(0, 5),
  };
  latencies = [];
  process.send?.(said);
}

/** A client's text frame of fewer than 65,536 bytes, masked with zeros. */
function maskedText(text: string): Buffer {
  const payload = Buffer.from(text);
  const header = Buffer.from(
    payload.length < 126
      ? [0x81, 0x80 + payload.length]
      : [0x81, 0x80 + 126, payload.length >> 8, payload.length % 256],
  );
  return Buffer.concat([header, Buffer.alloc(4), payload]);
}
