import type { LatencyPercentiles } from '../src/feed/feed-window.ts';
import { builder } from './builder.ts';

/** How many attempts ended how. */
export const AttemptCounts = builder
  .objectRef<{ succeededCount: number; failedCount: number }>('AttemptCounts')
  .implement({
    description: 'How many attempts ended how.',
    fields: (t) => ({
      total: t.int({
        description: 'All of them.',
        resolve: ({ succeededCount, failedCount }) => succeededCount + failedCount,
      }),
      succeeded: t.exposeInt('succeededCount', { description: 'Answered with a 2xx status.' }),
      failed: t.exposeInt('failedCount', { description: 'With any other answer, or none.' }),
    }),
  });

/** How long attempts took. */
export const AttemptLatency = builder.objectRef<LatencyPercentiles>('AttemptLatency').implement({
  description: 'How long attempts took, failed ones included.',
  fields: (t) => ({
    p50Ms: t.exposeInt('p50Ms', { description: 'Half of them took at most this, in milliseconds.' }),
    p95Ms: t.exposeInt('p95Ms', { description: '95 % of them took at most this, in milliseconds.' }),
    p99Ms: t.exposeInt('p99Ms', { description: '99 % of them took at most this, in milliseconds.' }),
  }),
});
