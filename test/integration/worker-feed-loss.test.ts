import { afterAll, beforeAll, expect, test } from 'vitest';
import { startReceiver } from '../support/receiver.ts';
import { addWebhook } from '../support/store-fixture.ts';
import { emitEvents, openWorkerFixture } from '../support/worker-fixture.ts';
import type { WorkerFixture } from '../support/worker-fixture.ts';

let fixture: WorkerFixture;
beforeAll(async () => {
  fixture = await openWorkerFixture();
});
afterAll(async () => await fixture?.[Symbol.asyncDispose]());

test('an attempt that could not be recorded expires the cursors: some of it may have been committed', async () => {
  await fixture.db.pipeline.query(`
    create function refuse() returns trigger language plpgsql as
    $$ begin raise exception 'refused' using errcode = 'check_violation'; end $$`);
  await fixture.db.pipeline.query('create trigger refuse before insert on attempts execute function refuse()');
  await using receiver = await startReceiver(async () => ({}));
  await addWebhook(fixture, { url: receiver.url });
  const reader = await fixture.feed.subscribe(fixture.projectId);
  await using _worker = await fixture.startWorker();
  await emitEvents(fixture, 'config.deployed', 1);
  await expect(reader.next()).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
});
