import { randomUUID } from 'node:crypto';
import { setTimeout as after } from 'node:timers/promises';
import type { Client } from 'pg';
import { applyMigrations } from '../../src/stack/apply-migrations.ts';
import type { Migration } from '../../src/stack/apply-migrations.ts';
import { connectToDatabase } from '../../src/stack/connect.ts';
import { createEmptyDatabase } from './postgres.ts';
import { sentValue } from './released-statements.ts';
import type { ReleasedStatement, ReleasedStatements } from './released-statements.ts';

// What a process of the release before does, by the statements that it sends: emit, claim and record, over and over.

/** How the release before fared while migrations landed under it. */
export interface Landing {
  /** What went wrong with which statement. */
  failures: string[];
  /** Events that were emitted, claimed and recorded as delivered before and after the migrations. */
  deliveredBefore: number;
  deliveredAfter: number;
  /** The longest that any of its statements waited for a lock, in milliseconds. */
  longestLockWaitMs: number;
}

const emitterCount = 3;
const roundsBetween = 20;
const observeEveryMs = 10;
const limitMs = 20_000;

/** Sends a kept statement with other values than its own, if given. Rejects with its name in the message. */
export async function send(
  client: Client,
  { name, text, values }: ReleasedStatement,
  others: readonly unknown[] = values.map(sentValue),
): Promise<Record<string, unknown>[]> {
  try {
    const { rows } = await client.query({ ...(name === null ? {} : { name }), text, values: [...others] });
    return rows;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${name ?? text.slice(0, 80)}: ${reason}`, { cause: error });
  }
}

/**
 * Emits, claims and records on a database of the release, lets the migrations land in the middle, and goes on for as long
 * again. The connections and what they have prepared stay, as those of a running process do.
 */
export async function landUnder(
  released: ReleasedStatements,
  migrations: {
    before: readonly Migration[];
    landing: readonly Migration[];
  },
): Promise<Landing> {
  await using database = await createEmptyDatabase();
  await using owned = new AsyncDisposableStack();
  const connect = async (): Promise<Client> => {
    const client = await connectToDatabase(database.url);
    owned.defer(async () => await client.end());
    return client;
  };
  const migrating = await connect();
  await applyMigrations(migrating, migrations.before);
  for (const statement of released.setup) await send(migrating, statement);

  const landing: Landing = { failures: [], deliveredBefore: 0, deliveredAfter: 0, longestLockWaitMs: 0 };
  const stop = new AbortController();
  const rounds = { count: 0 };
  const emitting = Array.from({ length: emitterCount }, async () => {
    const client = await connect();
    while (!stop.signal.aborted && landing.failures.length < 10) {
      await emitClaimRecord(client, released).catch((error: unknown) => landing.failures.push(String(error)));
      rounds.count += 1;
    }
  });
  const observing = observeLocks(await connect(), landing, stop.signal);
  const untilRounds = async (target: number): Promise<void> => {
    const deadline = performance.now() + limitMs;
    while (rounds.count < target && landing.failures.length < 10) {
      if (performance.now() > deadline) throw new Error(`${rounds.count} of ${target} rounds within ${limitMs} ms`);
      await after(observeEveryMs);
    }
  };
  try {
    await untilRounds(roundsBetween);
    landing.deliveredBefore = await countDelivered(migrating);
    const startCount = rounds.count;
    await applyMigrations(migrating, migrations.landing);
    await untilRounds(rounds.count + Math.max(roundsBetween, rounds.count - startCount));
    landing.deliveredAfter = (await countDelivered(migrating)) - landing.deliveredBefore;
  } finally {
    stop.abort();
    await Promise.all([...emitting, observing]);
  }
  return landing;
}

/** One event from its emit to its delivery, by the three statements that carry it. */
async function emitClaimRecord(client: Client, { statements }: ReleasedStatements): Promise<void> {
  const [emit, claim, record] = ['emit-events', 'claim-deliveries', 'record-attempts'].map((name) => {
    const found = statements.find((statement) => statement.name === name);
    if (found === undefined) throw new Error(`the release sent no ${name}`);
    return found;
  }) as [ReleasedStatement, ReleasedStatement, ReleasedStatement];
  const eventId = randomUUID();
  await send(client, emit, withRow(emit, { id: eventId, idempotency_key: eventId }));
  const { rows } = await client.query<{ id: string }>('select id from deliveries where event_id = $1', [eventId]);
  const [delivery] = rows;
  if (delivery === undefined) throw new Error('emit-events: it stored no delivery');
  const [claimed] = await send(client, claim, [[delivery.id], ...claim.values.slice(1)]);
  if (claimed === undefined) throw new Error('claim-deliveries: it claimed nothing');
  const row = { id: randomUUID(), delivery_id: delivery.id, claimed_at: claimed['claimed_at'] };
  const [recorded] = await send(client, record, withRow(record, row));
  if (recorded === undefined) throw new Error('record-attempts: it changed no delivery');
}

/** The statement's values, its one JSON row being another event's or attempt's. */
function withRow({ values }: ReleasedStatement, row: Record<string, unknown>): unknown[] {
  const [json, ...others] = values;
  const [sample] = JSON.parse(String(json)) as Record<string, unknown>[];
  return [JSON.stringify([{ ...sample, ...row }]), ...others];
}

async function countDelivered(client: Client): Promise<number> {
  const { rows } = await client.query<{ count: number }>(
    `select count(*)::int as count from deliveries where status = 'DELIVERED'`,
  );
  return rows[0]?.count ?? 0;
}

/** Looks at who waits for a lock, and how long, until the signal. What waits for the processor is not meant. */
async function observeLocks(client: Client, landing: Landing, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const { rows } = await client.query<{ ms: number | null }>(
      `select max(extract(epoch from clock_timestamp() - query_start) * 1000)::float8 as ms from pg_stat_activity
       where datname = current_database() and wait_event_type = 'Lock' and query !~* '^\\s*(alter|create|drop)'`,
    );
    landing.longestLockWaitMs = Math.max(landing.longestLockWaitMs, rows[0]?.ms ?? 0);
    await after(observeEveryMs);
  }
}
