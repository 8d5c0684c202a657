import { afterAll, describe, expect, test } from 'vitest';
import { runFeedChaos } from '../support/feed-chaos.ts';
import type { ChaosFigures, ChaosSettings } from '../support/feed-chaos.ts';

// `npm run chaos:feed` runs this with 20,000 items, 60 clients and three seeds. CHAOS_SEED repeats a run, as far as the
// machine does.

const itemCount = Number(process.env['CHAOS_ITEMS'] ?? 1_200);
const clientCount = Number(process.env['CHAOS_CLIENTS'] ?? 12);
const runCount = Number(process.env['CHAOS_RUNS'] ?? 1);
const firstSeed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 2 ** 20);
const seeds = Array.from({ length: runCount }, (_, index) => firstSeed + index);
const runLimitMs = 60_000 + itemCount * clientCount;

/** Whether an event stream carries ids, by which its clients resume. */
const eventStreamsCarryIds = true;

const kinds: Pick<ChaosSettings, 'transport' | 'feed'>[] = [
  { transport: 'websocket', feed: 'redis' },
  { transport: 'sse', feed: 'redis' },
  { transport: 'websocket', feed: 'in process' },
  { transport: 'sse', feed: 'in process' },
];

const rows: string[] = [];

function row({ transport, feed, seed }: ChaosSettings, figures: ChaosFigures): string {
  const { reconnectCount, killCount, gapCount, duplicateCount, longestTurnMs, seconds } = figures;
  const counts = [
    seed,
    itemCount,
    clientCount,
    reconnectCount,
    killCount,
    gapCount,
    duplicateCount,
    longestTurnMs,
    seconds.toFixed(1),
  ];
  return [transport.padEnd(9), feed.padEnd(10), ...counts.map((count) => String(count).padStart(10))].join(' ');
}

afterAll(() => {
  const head = ['seed', 'items', 'clients', 'reconnects', 'kills', 'gaps', 'duplicates', 'turn ms', 'seconds'];
  const titles = ['transport', 'feed      ', ...head.map((title) => title.padStart(10))].join(' ');
  process.stdout.write(`${[titles, ...rows].join('\n')}\n`);
});

describe.each(kinds)('clients of a feed over $transport ($feed)', (kind) => {
  test.each(seeds)(
    'who come and go see every item, in order, once (seed %i)',
    { timeout: runLimitMs },
    async (seed) => {
      const settings = { ...kind, seed, itemCount, clientCount };
      const figures = await runFeedChaos(settings);
      rows.push(row(settings, figures));
      expect(figures).toMatchObject({ gapCount: 0, duplicateCount: 0 });
      expect(figures.takenCount).toBe(itemCount * clientCount);
      expect(figures.reconnectCount).toBeGreaterThan(10 * clientCount);
      expect(figures.killCount > 5).toBe(kind.feed === 'redis');
      const resumesByEventId = kind.transport === 'sse' && eventStreamsCarryIds;
      expect(figures.resumedByEventIdCount > 9 * clientCount).toBe(resumesByEventId);
    },
  );
});
