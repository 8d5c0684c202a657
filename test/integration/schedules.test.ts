import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, test, vi } from 'vitest';
import { migrateQueue } from '../../src/queue-backend.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { openPipelines } from '../../src/store/pipelines.ts';
import { countHistory, storeHistory } from '../support/history.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { startTestRedis } from '../support/redis.ts';
import type { QueueConnection } from '../../src/queue.ts';

const names = ['cleanup', 'health', 'recover', 'retry-stuck', 'sweep'];
const everyMs = 400;
const limit = { timeout: 40_000, interval: 20 };
const program = path.join(import.meta.dirname, '../support/schedules-process.ts');

/** One line of a worker. */
interface Line {
  worker: number;
  name: string;
  what: 'start' | 'end';
  atMs: number;
}

/** Workers that run every schedule, and what they have said. */
interface Workers extends AsyncDisposable {
  databaseUrl: string;
  lines: Line[];
  start(): void;
  kill(worker: number): Promise<void>;
}

async function openWorkers(kind: QueueConnection['kind']): Promise<Workers> {
  await using opening = new AsyncDisposableStack();
  const databaseUrl = opening.use(await createTestDatabase()).url;
  const connection: QueueConnection =
    kind === 'redis' ? { kind, url: opening.use(await startTestRedis()).url } : { kind, url: databaseUrl };
  await migrateQueue(connection);
  const lines: Line[] = [];
  const processes: ReturnType<typeof spawn>[] = [];
  const { PATH = '' } = process.env;
  const env = { PATH, DATABASE_URL: databaseUrl, QUEUE: JSON.stringify(connection), EVERY_MS: String(everyMs) };
  const kill = async (worker: number): Promise<void> => {
    const child = processes[worker];
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  opening.defer(async () => void (await Promise.all(processes.map(async (_, worker) => await kill(worker)))));
  const owned = opening.move();
  return {
    databaseUrl,
    lines,
    kill,
    start: () => {
      const worker = processes.length;
      const child = spawn(process.execPath, [program], { env, stdio: ['ignore', 'pipe', 'inherit'] });
      processes.push(child);
      createInterface({ input: child.stdout }).on('line', (line) => lines.push({ worker, ...JSON.parse(line) }));
    },
    [Symbol.asyncDispose]: async () => await owned.disposeAsync(),
  };
}

function startsOf(lines: readonly Line[], name: string): Line[] {
  return lines.filter((line) => line.name === name && line.what === 'start');
}

/** Whether each schedule ran about as often as it ticked while these runs were made, however many workers there are. */
function expectOnePerTick(lines: readonly Line[]): void {
  for (const name of names) {
    const starts = startsOf(lines, name).map(({ atMs }) => atMs);
    const elapsedMs = Math.max(...starts) - Math.min(...starts);
    // The first may have come when its tick was almost over, and any may be late by as much: were each worker to run each
    // tick, there would be three times as many.
    expect([name, starts.length <= elapsedMs / everyMs + 3]).toEqual([name, true]);
  }
}

describe.each([
  ['redis', 3],
  ['postgres', 1],
] as const)('the schedules with the queue on %s, in %i processes', (kind, count) => {
  test(
    'each runs once per tick, and goes on when the worker that runs one is killed',
    { timeout: 120_000 },
    async () => {
      await using workers = await openWorkers(kind);
      const { lines } = workers;
      const history = openPipelines(workers.databaseUrl);
      await history.pipeline.query(`update cleanup_turns set done_at = now() - interval '2 days'`);
      await storeHistory(history, { count: 100, at: new Date(Date.now() - 31 * 86_400_000) });
      for (let worker = 0; worker < count; worker += 1) workers.start();
      await vi.waitFor(() => {
        for (const name of names) expect(startsOf(lines, name).length).toBeGreaterThanOrEqual(12);
      }, limit);
      expect([...new Set(lines.map(({ name }) => name))].toSorted()).toEqual(names);
      expect(new Set(lines.map(({ worker }) => worker)).size).toBe(count);
      expectOnePerTick(lines);
      const left = await countHistory(history);
      await history[Symbol.asyncDispose]();
      expect(left).toEqual({ events: 0, deliveries: 0, attempts: 0 }); // no worker had run at 03:00; it was made up for

      // A lock keeps the next cleanup from its end, so that its worker is killed in it.
      const client = await connectToDatabase(workers.databaseUrl);
      await client.query('begin');
      await client.query('lock table cleanup_turns');
      const seen = lines.length;
      await vi.waitFor(() => expect(startsOf(lines.slice(seen), 'cleanup')).not.toEqual([]), limit);
      const victim = startsOf(lines.slice(seen), 'cleanup')[0]?.worker ?? -1;
      await workers.kill(victim);
      await client.query('rollback');
      await client.end();
      if (count === 1) workers.start();

      const killed = lines.length;
      await vi.waitFor(() => {
        for (const name of names) {
          expect(
            lines.slice(killed).filter((line) => line.name === name && line.what === 'end').length,
          ).toBeGreaterThan(8);
        }
      }, limit);
      expect(lines.slice(killed).map(({ worker }) => worker)).not.toContain(victim);
      expectOnePerTick(lines.slice(killed));
    },
  );
});
