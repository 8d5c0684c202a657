import { expect, test } from 'vitest';
import { judgeDurableRedis, judgeRedisPair, judgeVolatileRedis } from '../../src/stack/judge-redis.ts';
import { judgePostgresVersion } from '../../src/stack/postgres-version.ts';
import type { RedisFacts } from '../../src/stack/redis-facts.ts';

const good: RedisFacts = {
  place: 'redis.example:6379',
  version: '7.0.15',
  runId: 'a',
  database: 0,
  evictionPolicy: 'noeviction',
  persistence: 'append-only file',
  usedBytes: 10_000_000,
  maxBytes: 0,
};

function troubles(facts: Partial<RedisFacts>): string[] {
  return judgeDurableRedis({ ...good, ...facts })
    .filter(({ status }) => status !== 'ok')
    .map(({ status, message, remedy }) => `${status}: ${message} ${remedy}`);
}

test.each(['append-only file', 'snapshots'] as const)(
  'a durable Redis that evicts nothing and keeps %s is good',
  (kept) => {
    expect(troubles({ persistence: kept })).toEqual([]);
  },
);

test('a durable Redis that evicts is found, with setting, value and what to do', () => {
  expect(troubles({ evictionPolicy: 'allkeys-lru' })).toEqual([
    'failed: The durable Redis at redis.example:6379 has maxmemory-policy allkeys-lru and not noeviction: when its memory is full, it drops jobs of the queue. Set `maxmemory-policy noeviction` in its configuration.',
  ]);
});

test('a durable Redis that keeps nothing over a restart is found', () => {
  expect(troubles({ persistence: 'none' })).toEqual([
    expect.stringMatching(/^failed: .*appendonly no and no save rule.* Set `appendonly yes` in its configuration\.$/),
  ]);
});

test('a durable Redis that is nearly full is found', () => {
  expect(troubles({ usedBytes: 79 * 1024 * 1024, maxBytes: 100 * 1024 * 1024 })).toEqual([]);
  expect(troubles({ usedBytes: 85 * 1024 * 1024, maxBytes: 100 * 1024 * 1024 })).toEqual([
    expect.stringMatching(
      /^warning: The durable Redis at \S+ is nearly full: It holds 85 MiB of its maxmemory 100 MiB\./,
    ),
  ]);
});

test('what a managed Redis does not let be asked is unknown, and no failure', () => {
  const found = troubles({ version: null, evictionPolicy: null, persistence: null });
  expect(found.map((text) => text.split(':')[0])).toEqual(['unknown', 'unknown', 'unknown']);
});

test.each([
  ['6.2.0', 'ok'],
  ['6.10.1', 'ok'],
  ['8.0', 'ok'],
  ['6.1.9', 'failed'],
  ['5.0.14', 'failed'],
])('Redis %s is %s', (version, status) => {
  expect(judgeVolatileRedis({ ...good, version }).map((finding) => finding.status)).toEqual([status]);
});

test('a volatile Redis may evict and need not persist', () => {
  const found = judgeVolatileRedis({ ...good, evictionPolicy: 'allkeys-lru', persistence: 'none' });
  expect(found.filter(({ status }) => status !== 'ok')).toEqual([]);
});

test.each([
  ['noeviction', ['warning']],
  ['allkeys-lru', []],
])('a volatile Redis that is nearly full with maxmemory-policy %s', (evictionPolicy, expected) => {
  const full = { ...good, evictionPolicy, usedBytes: 85, maxBytes: 100 };
  const found = judgeVolatileRedis(full).filter(({ status }) => status !== 'ok');
  expect(found.map(({ status }) => status)).toEqual(expected);
});

test.each([
  ['the same server under another name', { place: 'alias:6379' }, 'warning'],
  ['another database of the same server', { database: 1 }, 'ok'],
  ['another server at the same name', { runId: 'b' }, 'ok'],
  ['the same name where the server says nothing of itself', { runId: null }, 'warning'],
])('queue and feed on %s: %s', (_title, difference, status) => {
  expect(judgeRedisPair(good, { ...good, ...difference }).status).toBe(status);
});

test.each([
  [180_004, 'ok', 'It is PostgreSQL 18.4.'],
  [130_000, 'ok', 'It is PostgreSQL 13.0.'],
  [120_022, 'failed', 'It is PostgreSQL 12.22, which is too old.'],
])('PostgreSQL %d is %s', (version, status, message) => {
  expect(judgePostgresVersion(version)).toMatchObject({ status, message });
});
