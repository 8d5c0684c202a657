import { afterAll, beforeAll, expect, test } from 'vitest';
import { createEmitter } from '../../src/store/emit-event.ts';
import { ledger } from '../../src/store/ledger.ts';
import { createRecorder } from '../../src/store/record-attempts.ts';
import { indexOpenDeliveries, listDue } from '../../src/store/sweep.ts';
import { addWebhook, createTestClaimer, openStoreFixture } from '../support/store-fixture.ts';
import type { StoreFixture } from '../support/store-fixture.ts';

// Sessions that first run on empty tables once kept sequential-scan plans for good: 500 inserts did 500 scans.

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await openStoreFixture();
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());

const rounds = 20;
const deliveriesPerRound = 100;

test('a database that was empty at the start is read row by row by the hot path, however it fills', async () => {
  const { db, projectId } = fixture;
  await addWebhook(fixture);
  const emitEvent = createEmitter(db, { maxAttempts: 6 });
  const claim = createTestClaimer(fixture, { retryScheduleSeconds: [60], claimLeaseMs: 60_000 });
  const record = createRecorder(db, { maxAttempts: 6 });
  for (let round = 0; round < rounds; round += 1) {
    await Promise.all(
      Array.from({ length: deliveriesPerRound }, async () => {
        const emitted = await emitEvent({
          projectId,
          type: 'config.deployed',
          data: null,
          idempotencyKey: null,
          occurredAt: new Date(),
          deliverAt: null,
          testWebhookId: null,
        });
        const id = emitted.kind === 'stored' ? emitted.deliveries[0]?.id : undefined;
        const claimed = id === undefined ? null : await claim(id);
        if (claimed?.kind !== 'claimed') throw new Error('not claimed');
        await record({
          dispatch: claimed.dispatch,
          decision: { kind: 'delivered' },
          result: {
            startedAt: new Date(),
            durationMs: 1,
            timings: { dnsMs: null, connectMs: null, tlsMs: null, firstByteMs: null },
            response: { status: 204, headers: [], body: '' },
            errorCode: null,
            errorMessage: null,
            retryAfterMs: null,
            receiverControl: null,
          },
        });
      }),
    );
    await indexOpenDeliveries(db, { graceMs: 0, claimLeaseMs: 60_000 }, new AbortController().signal);
    await listDue(db, 0, 100);
  }
  const reads = await readRows();
  expect(reads.scanned).toBe(0);
  // Each delivery is looked up by claim, record, sweep and the pages of its indexes' heap; a plan that walks a whole
  // index for every batch reads hundreds.
  expect(reads.byIndex / (rounds * deliveriesPerRound)).toBeLessThan(30);
  const { accepted, counts } = await ledger(db, projectId);
  expect([accepted, counts.DELIVERED]).toEqual([rounds * deliveriesPerRound, rounds * deliveriesPerRound]);
});

/** Rows of the hot tables that were read by sequential scans, and by way of an index. */
async function readRows(): Promise<{ scanned: number; byIndex: number }> {
  const { pipeline, upkeep } = fixture.db;
  const idle = await Promise.all(
    [pipeline, upkeep].flatMap((pool) => Array.from({ length: pool.totalCount }, async () => await pool.connect())),
  );
  for (const client of idle) await client.query('select pg_stat_force_next_flush()');
  for (const client of idle) client.release();
  const { rows } = await pipeline.query<{ scanned: string; by_index: string }>(
    `select (select sum(seq_tup_read) from pg_stat_user_tables t where t.relname = any($1)) as scanned,
            (select sum(idx_tup_read) from pg_stat_user_indexes i where i.relname = any($1)) as by_index`,
    [['events', 'deliveries', 'attempts']],
  );
  return { scanned: Number(rows[0]?.scanned), byIndex: Number(rows[0]?.by_index) };
}
