import { setTimeout } from 'node:timers/promises';
import { clockMs } from './clock.ts';
import { openEmitter } from './emitters.ts';
import { quantile } from './quantile.ts';
import type { EmitterTarget } from './emitters.ts';

// The product that emits, in a process of its own: its memory and its CPU are not the worker's, and its event loop is not
// the receiver's. Events go to the given types in turn; each carries the time of its emit and the tag.

/** What is emitted: in turn to these types, each event about 1 kB. */
interface Load {
  types: readonly string[];
  tag: string;
}

/** All at once, at most 500 under way. */
export type Backlog = { kind: 'backlog'; count: number } & Load;

/** At a steady rate, `bulkSize` at once, however long the answers take (an open loop). */
export type Offer = { kind: 'offer'; ratePerSecond: number; seconds: number; bulkSize: number } & Load;

/** `callerCount` callers, of whom each emits `bulkSize` at once and waits for the answers (a closed loop). */
export type Loop = { kind: 'loop'; callerCount: number; bulkSize: number; seconds: number } & Load;

/** What became of a load. */
export interface LoadResult {
  kind: 'emitted';
  eventCount: number;
  acceptedCount: number;
  seconds: number;
  /** From the call to its answer. */
  emitP50Ms: number;
  emitP99Ms: number;
}

const text = 'x'.repeat(850);
const backlogBatchMax = 500;

const emit = await openEmitter(JSON.parse(process.env['BENCH_TARGET'] ?? '') as EmitterTarget);
let turn = 0;
process.once('disconnect', () => process.exit(0)); // the benchmark has ended, perhaps by a signal
process.on('message', (load: Backlog | Offer | Loop) => void run(load));
process.send?.({ kind: 'ready' });

async function run(load: Backlog | Offer | Loop): Promise<void> {
  const startedAt = clockMs();
  const durations: number[] = [];
  let acceptedCount = 0;
  const one = async (): Promise<void> => {
    const type = load.types[(turn += 1) % load.types.length] ?? '';
    const sentAt = clockMs();
    const accepted = await emit(type, { sentAt, tag: load.tag, text });
    acceptedCount += accepted;
    durations.push(clockMs() - sentAt);
  };
  if (load.kind === 'backlog') await fill(load, one);
  else if (load.kind === 'offer') await offer(load, one);
  else await Promise.all(Array.from({ length: load.callerCount }, async () => await loop(load, one)));
  const result: LoadResult = {
    kind: 'emitted',
    eventCount: durations.length,
    acceptedCount,
    seconds: (clockMs() - startedAt) / 1000,
    emitP50Ms: quantile(durations, 0.5),
    emitP99Ms: quantile(durations, 0.99),
  };
  process.send?.(result);
}

async function fill({ count }: Backlog, one: () => Promise<void>): Promise<void> {
  for (let first = 0; first < count; first += backlogBatchMax)
    await together(Math.min(backlogBatchMax, count - first), one);
}

async function offer(load: Offer, one: () => Promise<void>): Promise<void> {
  const { ratePerSecond, seconds, bulkSize } = load;
  const bulkCount = Math.floor((ratePerSecond * seconds) / bulkSize);
  const startedAt = clockMs();
  const emits: Promise<void>[] = [];
  for (let bulk = 0; bulk < bulkCount; bulk += 1) {
    const dueAt = startedAt + (bulk * bulkSize * 1000) / ratePerSecond;
    while (clockMs() < dueAt) await setTimeout(1);
    emits.push(together(bulkSize, one));
  }
  await Promise.all(emits);
}

async function loop({ bulkSize, seconds }: Loop, one: () => Promise<void>): Promise<void> {
  const until = clockMs() + seconds * 1000;
  while (clockMs() < until) await together(bulkSize, one);
}

async function together(count: number, one: () => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, one));
}
