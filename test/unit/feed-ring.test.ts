import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { FeedRing } from '../../src/feed/feed-ring.ts';
import { entryOf } from '../support/feed.ts';

const step = fc.oneof(
  { weight: 10, arbitrary: fc.constant({ kind: 'push' as const }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('restart' as const), ahead: fc.integer({ min: 0, max: 20 }) }),
  },
);

test('a ring keeps exactly the newest items since its restart, at most its size', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(step, { maxLength: 60 }), (size, steps) => {
      const ring = new FeedRing(size);
      let kept: { n: number; cursor: string }[] = [];
      for (const what of steps) {
        const n = ring.next;
        if (what.kind === 'push') {
          ring.push({ cursor: String(n), entry: entryOf(n) });
          kept = [...kept, { n, cursor: String(n) }].slice(-size);
        } else {
          ring.restart(n + what.ahead);
          kept = [];
        }
        expect(ring.first).toBe(kept[0]?.n ?? ring.next);
        for (let at = ring.next - 2 * size; at <= ring.next + 1; at += 1) {
          expect(ring.find(at)?.cursor).toBe(kept.find((item) => item.n === at)?.cursor);
        }
      }
    }),
  );
});
