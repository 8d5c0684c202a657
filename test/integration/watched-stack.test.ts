import { randomBytes } from 'node:crypto';
import { Writable } from 'node:stream';
import { pino } from 'pino';
import { expect, test, vi } from 'vitest';
import { loadConfig } from '../../src/config.ts';
import { Outage } from '../../src/outage.ts';
import { startWatchedStack } from '../../src/watched-stack.ts';
import { createReport } from '../../worker/report.ts';
import { startChaosRedis } from '../support/chaos-redis.ts';
import { entryOf, newProjectId } from '../support/feed.ts';
import { createTestDatabase } from '../support/postgres.ts';

const limit = { timeout: 10_000, interval: 50 };

/** A log whose lines are kept, without those about how the servers are set up. */
function keepLog() {
  const lines: { msg: string; server?: string; failureCount?: number }[] = [];
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      lines.push(JSON.parse(String(chunk)));
      done();
    },
  });
  return { logger: pino({ level: 'warn' }, stream), lines };
}

test('an outage of the volatile Redis is two lines in the log, however much fails meanwhile', async () => {
  await using database = await createTestDatabase();
  await using redis = await startChaosRedis({});
  const config = loadConfig({
    DATABASE_URL: database.url,
    REDIS_URI_DURABLE: redis.url,
    REDIS_URI_VOLATILE: redis.url,
    POSTHORN_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
  });
  const { logger, lines } = keepLog();
  await using stack = await startWatchedStack(config, logger);
  using neverAway = new Outage({ isAway: () => false, probe: async () => {} });
  const report = createReport(logger, 'warn', { outage: neverAway });
  lines.splice(0); // of how the Redis is set up
  const publish = async (): Promise<void> => await stack.feed.publish(newProjectId(), [entryOf(1)]);

  await redis.kill();
  for (let count = 0; count < 100; count += 1) {
    await publish().catch((error: unknown) => report('a change was not published to the feed', error));
    await stack.rateLimit.take(newProjectId(), 1, 1);
  }
  await vi.waitFor(() => expect(lines).toMatchObject([{ msg: expect.stringContaining('is away'), server: 'feed' }]));
  await redis.start();
  await vi.waitFor(() => expect(lines[1]).toMatchObject({ msg: 'outage over', server: 'feed' }), limit);
  await vi.waitFor(publish, limit);
  expect(lines).toHaveLength(2);
});
