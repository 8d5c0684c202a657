import { isDeepStrictEqual } from 'node:util';
import { setTimeout as after } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Redis } from 'ioredis';
import { createWebhook } from '../support/e2e-calls.ts';
import { untilFound } from '../support/e2e-client.ts';
import { emitOnce, logOf, startFaultWorld } from '../support/fault-world.ts';
import { openDatabase } from '../../src/store/database.ts';
import { createGate } from '../support/queue.ts';
import { startFeedMirror } from '../support/feed-mirror.ts';
import type { FeedMirror } from '../support/feed-mirror.ts';
import { startReceiver } from '../support/receiver.ts';
import type { EmitAnswer, FaultWorld } from '../support/fault-world.ts';
import type { ReceivedRequest, Receiver } from '../support/receiver.ts';

// Postgres and the durable Redis die and come back, while a gateway and two workers that nobody restarts go on.

/** After so long a claim of a worker with this `WEBHOOK_TIMEOUT`, 2 s, is stale and past sweep's grace. */
const staleMs = 8_500;

let world: FaultWorld;
beforeAll(async () => {
  world = await startFaultWorld();
}, 120_000);
afterEach(async () => {
  await world.postgres.resume();
  world.redis.thaw();
});
afterAll(async () => await world?.[Symbol.asyncDispose]());

/** An emitter that repeats what was not answered with success, with the same key, until it is told to stop. */
interface Emitter {
  answers: EmitAnswer[];
  /** Keys whose emit was answered with success. */
  stored: string[];
  stop: () => Promise<void>;
  [Symbol.asyncDispose]: () => Promise<void>;
}

function startEmitter(type: string): Emitter {
  const answers: EmitAnswer[] = [];
  const stored: string[] = [];
  const stopping = new AbortController();
  const lane = async (name: number): Promise<void> => {
    for (let number = 0; !stopping.signal.aborted; number += 1) {
      const key = `${type}-${name}-${number}`;
      let isStored = false;
      while (!isStored && !stopping.signal.aborted) {
        const answer = await emitOnce(world, type, key);
        answers.push(answer);
        isStored = answer.status === 200;
        if (!isStored) await after(20);
      }
      if (isStored) stored.push(key);
      await after(10);
    }
  };
  const lanes = Array.from({ length: 4 }, async (_, name) => await lane(name));
  const stop = async (): Promise<void> => {
    stopping.abort();
    await Promise.all(lanes);
  };
  return { answers, stored, stop, [Symbol.asyncDispose]: stop };
}

/** A receiver that takes some time for a request, so that some are always under way. */
async function startSlowReceiver(): Promise<Receiver> {
  return await startReceiver(async () => {
    await after(100);
    return {};
  });
}

function keyOf(request: ReceivedRequest): string {
  return (JSON.parse(request.body) as { data: { key: string } }).data.key;
}

async function untilArrived({ requests }: Receiver, keys: readonly string[]): Promise<void> {
  const missing = (): string[] => {
    const arrived = new Set(requests.map(keyOf));
    return keys.filter((key) => !arrived.has(key));
  };
  const look = async (): Promise<true | null> => (missing().length === 0 ? true : null);
  await untilFound('every event to arrive', look, 30_000).catch((cause: unknown) => {
    throw new Error(`${missing().length} of ${keys.length} have not arrived`, { cause });
  });
}

/** Rows as they are, by a connection of the test's own. */
async function countRows(sql: string, type: string): Promise<number> {
  await using database = openDatabase(world.postgres.url);
  const { rows } = await database.pipeline.query<{ count: number }>(sql, [type]);
  return rows[0]?.count ?? Number.NaN;
}

async function countEvents(type: string): Promise<number> {
  return await countRows('select count(*)::int from events where type = $1', type);
}

async function countOf(type: string, status: string): Promise<number> {
  const joined = 'deliveries d join events e on e.id = d.event_id';
  return await countRows(`select count(*)::int from ${joined} where e.type = $1 and d.status = '${status}'`, type);
}

function expectAllRunning(): void {
  for (const { process } of Object.values(world.processes)) {
    expect([process.exitCode, process.signalCode]).toEqual([null, null]);
  }
}

/** Lines of the log that tell of the server's outages since `from`, by process, and how many others there are. */
function outageLines(server: string, from: Record<string, number>): Record<string, string[]> {
  return Object.fromEntries(
    Object.entries(world.processes).map(([name, running]) => [
      name,
      logOf(running)
        .slice(from[name])
        .filter(({ msg }) => msg !== 'a readiness check failed')
        .map((line) => (line.server === server ? line.msg.split(':')[0] : line.msg) ?? ''),
    ]),
  );
}

function logLengths(): Record<string, number> {
  return Object.fromEntries(Object.entries(world.processes).map(([name, running]) => [name, logOf(running).length]));
}

async function readiness(): Promise<unknown> {
  const answer = await fetch(`${world.url}/ready`);
  const { status } = (await answer.json()) as { status: unknown };
  return [answer.status, status];
}

function deliveredIn({ states }: FeedMirror): number {
  return [...states.values()].filter((state) => state.startsWith('DELIVERED')).length;
}

async function untilReady(): Promise<void> {
  await untilFound('the gateway to be ready', async () =>
    isDeepStrictEqual(await readiness(), [200, 'ready']) ? true : null,
  );
}

/** Opens a new socket with the API key, and gives the code that it is closed with; 1000 is ours, once it was accepted. */
async function closeCodeOfNewSocket(): Promise<number> {
  const socket = new WebSocket(`${world.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
  return await new Promise((resolve) => {
    const payload = { authorization: `Bearer ${world.apiKey}` };
    socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload })));
    socket.on('message', () => socket.close(1000));
    socket.on('close', resolve);
  });
}

describe.each(['fast', 'immediate', 'kill', 'freeze'] as const)('Postgres is away for seconds (%s)', (how) => {
  test('nobody restarts: emits say so and are stored once, what was sent is recorded, and nothing is sent twice', async () => {
    await using receiver = await startSlowReceiver();
    const { eventType } = await createWebhook(world.client, `Postgres ${how}`, { url: receiver.url });
    await using mirror = await startFeedMirror(world.client);
    const deliveredBefore = deliveredIn(mirror);
    const before = logLengths();
    await using emitter = startEmitter(eventType);
    await receiver.waitFor(30, 20_000);

    if (how === 'freeze') await world.postgres.pause();
    else await world.postgres.end(how);
    const refused = async (): Promise<EmitAnswer | null> =>
      emitter.answers.find(({ status }) => status !== 200) ?? null;
    expect(await untilFound('an emit to be refused', refused)).toMatchObject({
      status: 503,
      retryAfter: '2',
      code: 'UNAVAILABLE',
      retryAfterSeconds: 2,
    });
    const { errors } = await world.client.ask('query { deliveries(first: 1) { nodes { id } } }');
    expect(errors.map(({ code }) => code)).toEqual(['UNAVAILABLE']);
    // A key that was looked up within the last second is known without the database.
    const codes = new Set<number>();
    await untilFound('a new socket to be refused', async () =>
      codes.add(await closeCodeOfNewSocket()).has(1000) && codes.size === 1 ? null : true,
    );
    expect([...codes].at(-1)).toBe(1013);
    expect(await readiness()).toEqual([503, 'not ready']);
    // What was under way has ended meanwhile, and cannot be recorded.
    const quietAt = receiver.requests.length;
    await untilFound('the workers to notice', async () =>
      Object.values(outageLines('database', before)).every((lines) => lines.includes('outage')) ? true : null,
    );
    expect(receiver.requests.length - quietAt).toBeLessThanOrEqual(20);

    if (how === 'freeze') await world.postgres.resume();
    else await world.postgres.start();
    await untilReady();
    const storedThen = emitter.stored.length;
    await untilFound('emits to be stored', async () => (emitter.stored.length > storedThen + 8 ? true : null));
    await emitter.stop();
    expect(new Set(emitter.answers.map(({ code }) => code))).toEqual(new Set([null, 'UNAVAILABLE']));
    await untilArrived(receiver, emitter.stored);
    // What was committed when its connection broke may be missing in the feed, so cursors expire: the list is read anew.
    await untilFound('who watches to know of all', async () =>
      deliveredIn(mirror) - deliveredBefore === emitter.stored.length ? true : null,
    );
    expect(await countEvents(eventType)).toBe(emitter.stored.length);
    expect(await countOf(eventType, 'DELIVERED')).toBe(emitter.stored.length);
    expect(receiver.requests.map(keyOf).toSorted()).toEqual(emitter.stored.toSorted());
    expect(outageLines('database', before)).toEqual({
      gateway: ['outage', 'outage over'],
      'first worker': ['outage', 'outage over'],
      'second worker': ['outage', 'outage over'],
    });
    expectAllRunning();
  });
});

test('an outage that outlasts the claims makes no attempt twice: they are recorded before sweep takes the claims for stale', async () => {
  const { opened, open } = createGate();
  await using receiver = await startReceiver(async () => {
    await opened;
    return {};
  });
  const { eventType } = await createWebhook(world.client, 'Outlasted', { url: receiver.url });
  const keys = Array.from({ length: 8 }, (_, number) => `outlasted-${number}`);
  for (const key of keys) await emitOnce(world, eventType, key);
  await receiver.waitFor(keys.length);
  await world.postgres.end('immediate');
  open();
  await after(staleMs); // it is this time that has to pass
  await world.postgres.start();
  const look = async (): Promise<true | null> =>
    (await countOf(eventType, 'DELIVERED')) === keys.length ? true : null;
  await untilFound('every attempt to be recorded', look);
  // Nor by the first sweeps after that.
  const later = await emitOnceStored(eventType, 'later');
  await untilArrived(receiver, [later]);
  expect(receiver.requests.map(keyOf).toSorted()).toEqual([...keys, later].toSorted());
});

/** Emits an event, again and again until it is stored, and gives its key. */
async function emitOnceStored(type: string, key: string): Promise<string> {
  const look = async (): Promise<true | null> => ((await emitOnce(world, type, key)).status === 200 ? true : null);
  await untilFound('the event to be stored', look);
  return key;
}

async function flushRedis(): Promise<void> {
  const redis = new Redis(world.redis.url);
  await redis.flushall();
  await redis.quit();
}

describe.each(['kill', 'freeze'] as const)('the durable Redis is away for seconds (%s)', (how) => {
  test('emits are stored with no delay, and everything is sent once when it is back', async () => {
    await using receiver = await startSlowReceiver();
    const { eventType } = await createWebhook(world.client, `Redis ${how}`, { url: receiver.url });
    const before = logLengths();
    await using emitter = startEmitter(eventType);
    await receiver.waitFor(30, 20_000);
    if (how === 'freeze') world.redis.freeze();
    else await world.killRedis();
    const answeredThen = emitter.answers.length;
    await untilFound('the gateway to do without its queue', async () =>
      isDeepStrictEqual(await readiness(), [200, 'degraded']) ? true : null,
    );
    await untilFound('more emits', async () => (emitter.answers.length > answeredThen + 40 ? true : null));
    const away = emitter.answers.slice(answeredThen).map(({ durationMs }) => durationMs);
    process.stdout.write(
      `emits while the durable Redis is away (${how}): ${away.length}, the slowest ${Math.max(...away).toFixed(0)} ms; ` +
        `before: ${Math.max(...emitter.answers.slice(0, answeredThen).map(({ durationMs }) => durationMs)).toFixed(0)} ms\n`,
    );
    expect(Math.max(...away)).toBeLessThan(1_000);
    if (how === 'freeze') world.redis.thaw();
    else await world.startRedis();
    await untilReady();
    await emitter.stop();
    expect(emitter.answers.every(({ status }) => status === 200)).toBe(true);
    await untilArrived(receiver, emitter.stored);
    expect(receiver.requests.map(keyOf).toSorted()).toEqual(emitter.stored.toSorted());
    // That it began and that it is over; once more when one connection found the way back later than the others.
    const lineCounts = Object.values(outageLines('queue', before)).map((lines) => lines.length);
    expect(Math.max(...lineCounts)).toBeLessThanOrEqual(4);
    expectAllRunning();
  });
});

test('a durable Redis that is emptied loses no retry: sweep sends it near its time, once', async () => {
  await using receiver = await startReceiver((_request, index) => ({ status: index === 0 ? 500 : 200 }));
  const { eventType } = await createWebhook(world.client, 'Flushed', { url: receiver.url });
  await emitOnce(world, eventType, 'flushed');
  const [first] = await receiver.waitFor(1);
  await untilFound('the retry to be planned', async () => ((await countOf(eventType, 'RETRYING')) === 1 ? true : null));
  await flushRedis();
  const [, second] = await receiver.waitFor(2, 15_000);
  const waitedMs = (second?.receivedAt.getTime() ?? 0) - (first?.receivedAt.getTime() ?? 0);
  // 1 s ± 20 %, then the grace and an interval of sweep, whose schedule has to come back as well.
  expect(waitedMs).toBeGreaterThan(790);
  expect(waitedMs).toBeLessThan(14_000);
  await untilFound('the delivery to be done', async () =>
    (await countOf(eventType, 'DELIVERED')) === 1 ? true : null,
  );
  expect(receiver.requests).toHaveLength(2);
});
