import { afterEach, beforeEach, expect, test } from 'vitest';
import { cleanup } from '../../src/store/cleanup.ts';
import { countHistory, type History, storeHistory, uuidOfAge } from '../support/history.ts';
import { openStoreFixture, type StoreFixture } from '../support/store-fixture.ts';

const olderThan = new Date('2026-05-01T00:00:00.000Z');
const before = new Date(olderThan.getTime() - 1);
const never = new AbortController().signal;
/** What a cleanup of events and deliveries does not touch. */
const others = { recoveryCount: 0, auditEntryCount: 0 };

let fixture: StoreFixture;

beforeEach(async () => {
  fixture = await openStoreFixture();
});

afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
});

/** Stores what was made, and unless said otherwise ended, right before the instant. */
async function store(history: Partial<History> = {}): Promise<string[]> {
  return await storeHistory(fixture.db, { at: before, ...history });
}

const counts = async () => await countHistory(fixture.db);

test('what ended before the instant goes: events, deliveries and attempts, of every project', async () => {
  await store({ statuses: ['DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED'] });
  await store({ statuses: [] });
  await store();

  const result = await cleanup(fixture.db, { olderThan }, never);

  expect(result).toEqual({ eventCount: 3, deliveryCount: 5, attemptCount: 10, ...others, finished: true });
  expect(await counts()).toEqual({ events: 0, deliveries: 0, attempts: 0 });
});

test('what was made in the millisecond of the instant or later stays', async () => {
  await store({ at: olderThan, statuses: ['DELIVERED'] });
  await store({ at: new Date(olderThan.getTime() + 1), statuses: ['FAILED'] });

  expect(await cleanup(fixture.db, { olderThan }, never)).toMatchObject({ eventCount: 0, deliveryCount: 0 });
  expect(await counts()).toEqual({ events: 2, deliveries: 2, attempts: 4 });
});

test.each(['PENDING', 'DELIVERING', 'RETRYING'])(
  'a delivery that is %s stays however old it is, with its attempts and its event',
  async (status) => {
    await store({ statuses: [status, 'DELIVERED'], finishedAt: null });

    const result = await cleanup(fixture.db, { olderThan }, never);

    expect(result).toEqual({ eventCount: 0, deliveryCount: 1, attemptCount: 2, ...others, finished: true });
    expect(await counts()).toEqual({ events: 1, deliveries: 1, attempts: 2 });
    const { rows } = await fixture.db.pipeline.query('select status::text from deliveries');
    expect(rows).toEqual([{ status }]);
  },
);

test('an old delivery that ended after the instant stays with its attempts and its event', async () => {
  await store({ finishedAt: olderThan });

  expect(await cleanup(fixture.db, { olderThan }, never)).toMatchObject({ eventCount: 0, deliveryCount: 0 });
  expect(await counts()).toEqual({ events: 1, deliveries: 1, attempts: 2 });
});

test('an old event stays while a younger delivery of it does', async () => {
  const [eventId] = await store({ statuses: [] });
  await fixture.db.pipeline.query(
    `insert into deliveries (id, project_id, event_id, webhook_id, max_attempts, status, finished_at)
     values (posthorn_uuid_at($2), gen_random_uuid(), $1, gen_random_uuid(), 6, 'DELIVERED', $2)`,
    [eventId, olderThan],
  );

  expect(await cleanup(fixture.db, { olderThan }, never)).toMatchObject({ eventCount: 0, deliveryCount: 0 });

  const later = new Date(olderThan.getTime() + 1);
  expect(await cleanup(fixture.db, { olderThan: later }, never)).toMatchObject({ eventCount: 1, deliveryCount: 1 });
});

test('attempts that were recorded after their delivery had gone go too', async () => {
  await store();
  await fixture.db.pipeline.query('delete from deliveries');
  await fixture.db.pipeline.query('delete from events');

  const result = await cleanup(fixture.db, { olderThan }, never);

  expect(result).toEqual({ eventCount: 0, deliveryCount: 0, attemptCount: 2, ...others, finished: true });
});

test('many steps remove everything and keep every open delivery, wherever in a step it lies', async () => {
  for (let round = 0; round < 40; round += 1) {
    await store({ count: 7, at: new Date(before.getTime() - round) });
    await store({ count: 2, at: new Date(before.getTime() - round), statuses: ['RETRYING'], finishedAt: null });
  }

  const result = await cleanup(fixture.db, { olderThan, stepRowsMax: 10 }, never);

  expect(result).toEqual({ eventCount: 280, deliveryCount: 280, attemptCount: 560, ...others, finished: true });
  expect(await counts()).toEqual({ events: 80, deliveries: 80, attempts: 160 });
}, 60_000); // its pauses are as long as the machine is busy

test('a second cleanup finds nothing more', async () => {
  await store({ count: 20 });
  await cleanup(fixture.db, { olderThan }, never);

  expect(await cleanup(fixture.db, { olderThan }, never)).toEqual({
    eventCount: 0,
    deliveryCount: 0,
    attemptCount: 0,
    ...others,
    finished: true,
  });
});

test('it stops after the step under way when the signal aborts, and the next one removes the rest', async () => {
  await store({ count: 100 });
  const stop = new AbortController();
  fixture.db.upkeep.once('release', () => stop.abort()); // each step takes a connection and gives it back
  const first = await cleanup(fixture.db, { olderThan, stepRowsMax: 10 }, stop.signal);

  expect(first).toEqual({ eventCount: 0, deliveryCount: 10, attemptCount: 20, ...others, finished: false });
  expect(await counts()).toEqual({ events: 100, deliveries: 90, attempts: 180 });

  const second = await cleanup(fixture.db, { olderThan }, never);
  expect(second).toEqual({ eventCount: 100, deliveryCount: 90, attemptCount: 180, ...others, finished: true });
});

test('a signal that has aborted already removes nothing', async () => {
  await store();

  expect(await cleanup(fixture.db, { olderThan }, AbortSignal.abort())).toMatchObject({ finished: false });
  expect(await counts()).toEqual({ events: 1, deliveries: 1, attempts: 2 });
});

test('two at once remove everything once', async () => {
  await store({ count: 300 });

  const both = await Promise.all([
    cleanup(fixture.db, { olderThan, stepRowsMax: 20 }, never),
    cleanup(fixture.db, { olderThan, stepRowsMax: 30 }, never),
  ]);

  const sum = (key: 'eventCount' | 'deliveryCount' | 'attemptCount'): number => both[0][key] + both[1][key];
  expect(sum('deliveryCount')).toBe(300);
  expect(sum('attemptCount')).toBe(600);
  // The one that is behind sees deliveries which the other is removing that moment, so an event may wait for the next run.
  await cleanup(fixture.db, { olderThan }, never);
  expect(await counts()).toEqual({ events: 0, deliveries: 0, attempts: 0 });
});

test('rows that somebody else has locked are left out instead of waited for', async () => {
  await store({ count: 2 });
  const client = await fixture.db.upkeep.connect();
  await client.query('begin');
  const { rows } = await client.query<{ id: string }>('select id from deliveries order by id limit 1 for update');

  expect(await cleanup(fixture.db, { olderThan }, never)).toMatchObject({ eventCount: 1, deliveryCount: 1 });

  await client.query("update deliveries set status = 'PENDING', finished_at = null where id = $1", [rows[0]?.id]);
  await client.query('commit');
  client.release();
  expect(await cleanup(fixture.db, { olderThan }, never)).toMatchObject({ eventCount: 0, deliveryCount: 0 });
  expect(await counts()).toEqual({ events: 1, deliveries: 1, attempts: 2 });
});

test('a step that fails names its table, and leaves no transaction open', async () => {
  await store();
  await fixture.db.pipeline.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused'; end $$;
    create trigger refuse before delete on events for each row execute function refuse()`);

  await expect(cleanup(fixture.db, { olderThan }, never)).rejects.toThrow('a step of the cleanup of events failed');

  expect(await counts()).toEqual({ events: 1, deliveries: 0, attempts: 0 });
  const { rows } = await fixture.db.pipeline.query(
    `select count(*)::int from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`,
  );
  expect(rows).toEqual([{ count: 0 }]);
});

async function storeRecovery(status: 'RUNNING' | 'COMPLETED' | 'CANCELLED', finishedAt: Date | null): Promise<void> {
  const id = uuidOfAge(before);
  const project = await fixture.db.prisma.project.findFirstOrThrow();
  await fixture.db.prisma.recovery.create({
    data: {
      id,
      projectId: project.id,
      status,
      filter: {},
      since: before,
      until: before,
      matchedCount: 0,
      createdAt: before,
      finishedAt,
    },
  });
}

test('recoveries go when they ended before the instant, and none that is running', async () => {
  await storeRecovery('COMPLETED', before);
  await storeRecovery('CANCELLED', before);
  await storeRecovery('COMPLETED', olderThan);
  await storeRecovery('RUNNING', null);

  expect(await cleanup(fixture.db, { olderThan }, never)).toMatchObject({ recoveryCount: 2, finished: true });

  const left = await fixture.db.prisma.recovery.findMany({ orderBy: { id: 'asc' } });
  expect(left.map(({ status }) => status)).toEqual(['COMPLETED', 'RUNNING']);
});

test('audit entries go by an instant of their own', async () => {
  const { id: projectId } = await fixture.db.prisma.project.findFirstOrThrow();
  const auditOlderThan = new Date('2025-05-01T00:00:00.000Z');
  const instants = [before, auditOlderThan, new Date(auditOlderThan.getTime() - 1)];
  await fixture.db.prisma.auditEntry.deleteMany();
  await fixture.db.prisma.auditEntry.createMany({
    data: instants.map((createdAt) => ({
      id: uuidOfAge(createdAt),
      projectId,
      actorKind: 'ADMINISTRATOR',
      action: 'createProject',
      createdAt,
    })),
  });

  expect(await cleanup(fixture.db, { olderThan }, never)).toMatchObject({ auditEntryCount: 0 });
  expect(await cleanup(fixture.db, { olderThan, auditOlderThan }, never)).toMatchObject({ auditEntryCount: 1 });

  const left = await fixture.db.prisma.auditEntry.findMany({ orderBy: { id: 'asc' } });
  expect(left.map(({ createdAt }) => createdAt)).toEqual([auditOlderThan, before]);
});

test('an idempotency key stands for its event until the event goes, and is free again after that', async () => {
  const projectId = uuidOfAge(before);
  await store({ projectId, statuses: ['RETRYING'], finishedAt: null });
  await fixture.db.pipeline.query(`update events set idempotency_key = 'deploy-1'`);
  const useAgain = async (): Promise<unknown> =>
    await fixture.db.pipeline.query(
      `insert into events (id, project_id, type, body, occurred_at, idempotency_key)
       values ($1, $2, 'config.deployed', '{}', now(), 'deploy-1')`,
      [uuidOfAge(olderThan), projectId],
    );

  await cleanup(fixture.db, { olderThan }, never);
  await expect(useAgain()).rejects.toThrow('events_project_id_idempotency_key_key');

  await fixture.db.pipeline.query(`update deliveries set status = 'DELIVERED', finished_at = $1`, [before]);
  await cleanup(fixture.db, { olderThan }, never);
  await useAgain();
});
