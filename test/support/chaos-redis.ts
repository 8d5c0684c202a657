import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findSteadyPort } from './steady-port.ts';
import { startTestRedis } from './redis.ts';

/** A Redis of a run's own that comes back at the same place. */
export interface ChaosRedis extends AsyncDisposable {
  url: string;
  pid: () => number;
  /** Kills it as a crash does. */
  kill: () => Promise<void>;
  /** Starts it after a kill, with what it had persisted. */
  start: () => Promise<void>;
  flush: () => Promise<void>;
}

/** Starts a server with these settings, by name; what it persists goes with its disposal. */
export async function startChaosRedis(settings: Readonly<Record<string, string>>): Promise<ChaosRedis> {
  await using starting = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'posthorn-chaos-redis-'));
  starting.defer(async () => await rm(directory, { recursive: true, force: true, maxRetries: 5 }));
  const options = { port: await findSteadyPort(), directory, settings };
  let server = await startTestRedis(options);
  let pid = await readPid(server.url);
  starting.defer(async () => await server.kill());
  const started = starting.move();
  return {
    url: server.url,
    pid: () => pid,
    kill: async () => await server.kill(),
    start: async () => {
      server = await startTestRedis(options);
      pid = await readPid(server.url);
    },
    flush: async () => void (await ask(server.url, async (redis) => await redis.flushall())),
    [Symbol.asyncDispose]: async () => await started.disposeAsync(),
  };
}

/** Once it answers it has read what it had persisted. */
async function readPid(url: string): Promise<number> {
  const facts = await ask(url, async (redis) => await redis.info('server'));
  return Number(/process_id:(\d+)/.exec(facts)?.[1]);
}

async function ask<Answer>(url: string, question: (redis: Redis) => Promise<Answer>): Promise<Answer> {
  const redis = new Redis(url);
  try {
    return await question(redis);
  } finally {
    redis.disconnect();
  }
}
