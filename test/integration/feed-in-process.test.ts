import { expect, test } from 'vitest';
import { createInProcessFeed } from '../../src/feed/in-process-feed.ts';
import { entryOf, labels, newProjectId, take, takeLabels } from '../support/feed.ts';

test('of the projects nobody reads only the last published are kept; one that is read stays', async () => {
  await using feed = createInProcessFeed({ unreadTopicsMax: 2 });
  const projectIds = Array.from({ length: 5 }, newProjectId);
  const [read = newProjectId(), ...unread] = projectIds;
  const reader = await feed.subscribe(read);
  const cursors = new Map<string, string>();
  for (const projectId of unread) {
    const subscription = await feed.subscribe(projectId);
    await feed.publish(projectId, [entryOf('kept')]);
    const [item] = await take(subscription, 1);
    cursors.set(projectId, item?.cursor ?? '');
    await subscription.return?.();
  }
  const kept: boolean[] = [];
  for (const projectId of unread) {
    const resuming = feed.subscribe(projectId, { after: cursors.get(projectId) ?? null });
    kept.push(
      await resuming.then(async (subscription) => (await subscription.return?.()) !== undefined).catch(() => false),
    );
  }
  expect(kept).toEqual([false, false, true, true]);
  await feed.publish(read, [entryOf('still read')]);
  expect(await takeLabels(reader, 1)).toEqual(['still read']);
});

test('publishing in a loop does not outrun the readers', async () => {
  await using feed = createInProcessFeed({ logLength: 100 });
  const projectId = newProjectId();
  const readers = await Promise.all(Array.from({ length: 10 }, async () => await feed.subscribe(projectId)));
  const reading = readers.map(async (reader) => await takeLabels(reader, 2000));
  for (let n = 1; n <= 2000; n += 1) await feed.publish(projectId, [entryOf(n)]);
  for (const read of await Promise.all(reading)) expect(read).toEqual(labels(1, 2000));
});
