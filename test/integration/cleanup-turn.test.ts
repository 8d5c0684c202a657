import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAdministration } from '../../src/administration.ts';
import { endCleanupTurn, takeCleanupTurn } from '../../src/store/cleanup-turn.ts';
import { cleanUpDaily } from '../../worker/cleanup.ts';
import { storeHistory } from '../support/history.ts';
import { openStoreFixture, type StoreFixture } from '../support/store-fixture.ts';
import type { DeliveryQueue } from '../../src/queue.ts';

const never = new AbortController().signal;
const retentionDays = 30;
const old = new Date(Date.now() - 31 * 86_400_000);
const leaseMs = 60_000;

/** A cleanup enqueues nothing. */
const noQueue: DeliveryQueue = {
  enqueue: async () => await Promise.reject(new Error('a cleanup has nothing to enqueue')),
  countReady: async () => 0,
  countJobs: async () => ({ waiting: 0, active: 0, delayed: 0 }),
  ping: async () => {},
  [Symbol.asyncDispose]: async () => {},
};

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture();
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** Moves the end of the last cleanup. */
async function lastDone(sql: string): Promise<void> {
  await fixture.db.upkeep.query(`update cleanup_turns set done_at = ${sql}`);
}

const lastThree = `date_trunc('day', now() - interval '3 hours', 'UTC') + interval '3 hours'`;

async function countDeliveries(): Promise<number> {
  return await fixture.db.prisma.delivery.count();
}

test('a new database is not cleaned up before the next 03:00', async () => {
  expect(await takeCleanupTurn(fixture.db, leaseMs)).toBeNull();
});

test.each([
  ['since 03:00 none came to its end', `${lastThree} - interval '1 ms'`, true],
  ['one came to its end since 03:00', lastThree, false],
  ['no worker ran for a week', `now() - interval '7 days'`, true],
])('a cleanup is due or not when %s', async (_title, doneAt, due) => {
  await lastDone(doneAt);
  expect((await takeCleanupTurn(fixture.db, leaseMs)) !== null).toBe(due);
});

test('of many that look at once, one takes the turn', async () => {
  await lastDone(`now() - interval '2 days'`);
  const turns = await Promise.all(Array.from({ length: 20 }, async () => await takeCleanupTurn(fixture.db, leaseMs)));
  expect(turns.filter((turn) => turn !== null)).toHaveLength(1);
});

test('a turn that was given back unfinished is taken again at once, one that came to its end not', async () => {
  await lastDone(`now() - interval '2 days'`);
  const first = await takeCleanupTurn(fixture.db, leaseMs);
  if (first === null) throw new Error('no turn');
  await endCleanupTurn(fixture.db, first, false);
  const second = await takeCleanupTurn(fixture.db, leaseMs);
  if (second === null) throw new Error('no second turn');
  await endCleanupTurn(fixture.db, second, true);
  expect(await takeCleanupTurn(fixture.db, leaseMs)).toBeNull();
});

test('whoever comes back late gives nobody else’s turn back', async () => {
  await lastDone(`now() - interval '2 days'`);
  const late = await takeCleanupTurn(fixture.db, leaseMs);
  if (late === null) throw new Error('no turn');
  await fixture.db.upkeep.query(`update cleanup_turns set taken_at = taken_at - interval '1 hour'`);
  expect(await takeCleanupTurn(fixture.db, leaseMs)).not.toBeNull();
  await endCleanupTurn(fixture.db, late, true);
  expect(await takeCleanupTurn(fixture.db, leaseMs)).toBeNull();
  await lastDone('now()');
  expect(await takeCleanupTurn(fixture.db, 0)).toBeNull();
});

test('the daily cleanup removes what is older than the retention, once', async () => {
  await lastDone(`now() - interval '1 day'`);
  await storeHistory(fixture.db, { count: 3, at: old });
  await storeHistory(fixture.db, { count: 2, at: new Date() });
  expect(await cleanUpDaily(fixture.db, { retentionDays }, never)).toMatchObject({ deliveryCount: 3, finished: true });
  await storeHistory(fixture.db, { count: 1, at: old });
  expect(await cleanUpDaily(fixture.db, { retentionDays }, never)).toBeNull();
  expect(await countDeliveries()).toBe(3);
});

describe('a clock that is months ahead', () => {
  beforeEach(async () => {
    await lastDone(`now() - interval '1 day'`);
    await storeHistory(fixture.db, { count: 2, at: new Date() });
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 90 * 86_400_000 });
  });
  afterEach(() => void vi.useRealTimers());

  test('of a worker has it remove nothing that is not old', async () => {
    expect(await cleanUpDaily(fixture.db, { retentionDays }, never)).toMatchObject({ deliveryCount: 0 });
  });

  test('of who cleans up by hand does neither', async () => {
    const config = { retentionDays, sweepGraceMs: 10_000, attemptTimeoutMs: 10_000 };
    const administration = createAdministration(config, { database: fixture.db, queue: noQueue });
    expect(await administration.cleanup(retentionDays, never)).toMatchObject({ deliveryCount: 0, finished: true });
  });
});

test('a run that is stopped leaves the rest to the next one', async () => {
  await lastDone(`now() - interval '1 day'`);
  await storeHistory(fixture.db, { count: 50, at: old });
  const stop = new AbortController();
  let releaseCount = 0;
  fixture.db.upkeep.on('release', () => {
    releaseCount += 1;
    if (releaseCount === 3) stop.abort(); // the turn, and two steps
  });
  const first = await cleanUpDaily(fixture.db, { retentionDays, stepRowsMax: 10 }, stop.signal);
  expect(first).toMatchObject({ deliveryCount: 20, finished: false });
  expect(await cleanUpDaily(fixture.db, { retentionDays }, never)).toMatchObject({ deliveryCount: 30, finished: true });
});

test('a step that fails gives the turn back', async () => {
  await lastDone(`now() - interval '1 day'`);
  await storeHistory(fixture.db, { at: old });
  await fixture.db.pipeline.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
    create trigger refuse before delete on events for each row execute function refuse()`);
  await expect(cleanUpDaily(fixture.db, { retentionDays }, never)).rejects.toThrow('cleanup of events failed');
  await fixture.db.pipeline.query('drop trigger refuse on events');
  expect(await cleanUpDaily(fixture.db, { retentionDays }, never)).toMatchObject({ eventCount: 1, finished: true });
});

test('what a process that is killed in a cleanup leaves, another one removes when the turn has lapsed', async () => {
  await lastDone(`now() - interval '1 day'`);
  await storeHistory(fixture.db, { count: 400, at: old });
  const modules = path.resolve(import.meta.dirname, '../..');
  const url = fixture.db.pipeline.options.connectionString ?? '';
  const script = `
    import { openPipelines } from ${JSON.stringify(`${modules}/src/store/pipelines.ts`)};
    import { cleanUpDaily } from ${JSON.stringify(`${modules}/worker/cleanup.ts`)};
    const database = openPipelines(${JSON.stringify(url)});
    database.upkeep.on('release', () => console.log('step'));
    await cleanUpDaily(database, { retentionDays: 30, stepRowsMax: 1 }, new AbortController().signal);`;
  const worker = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  for await (const chunk of worker.stdout) {
    output += String(chunk);
    if (output.split('\n').length > 20) break;
  }
  worker.kill('SIGKILL');
  if (worker.exitCode === null && worker.signalCode === null) await once(worker, 'exit');
  const left = await countDeliveries();
  expect(left).toBeGreaterThan(0);
  expect(left).toBeLessThan(400);
  expect(await cleanUpDaily(fixture.db, { retentionDays }, never)).toBeNull(); // its turn lasts yet
  await fixture.db.upkeep.query(`update cleanup_turns set taken_at = taken_at - interval '75 seconds'`);
  expect(await cleanUpDaily(fixture.db, { retentionDays }, never)).toMatchObject({ finished: true });
  expect(await countDeliveries()).toBe(0);
});
