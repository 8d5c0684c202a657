import { Counter, Gauge } from 'prom-client';
import { createBoundedSource } from './bounded-source.ts';
import { createDeliveryGauges, createQueueGauge, createWebhookGauge } from './dependency-gauges.ts';
import { addPoolGauges } from './pool-metrics.ts';
import type { Registry } from 'prom-client';
import type { Dependencies } from './dependencies.ts';

export interface DependencyMetrics {
  watch(dependencies: Dependencies): void;
  /** Asks all at once and sets their gauges. Never rejects, and ends within the limit. */
  collect(): Promise<void>;
}

/** How long anybody is waited for, and for how long an answer is good, in milliseconds. */
const limitMs = 2_000;
const freshMs = 5_000;
/** Webhooks are counted one by one, and change slowly. */
const webhooksFreshMs = 60_000;

/** Creates the gauges of what a process depends on. Of what does not answer `posthorn_dependency_up` is 0, and the rest is absent. */
export function createDependencyMetrics(registry: Registry): DependencyMetrics {
  const errors = new Counter({
    name: 'posthorn_scrape_errors_total',
    help: 'Times that what these metrics are asked of failed or did not answer within 2 s.',
    labelNames: ['source'],
    registers: [registry],
  });
  const up = new Gauge({
    name: 'posthorn_dependency_up',
    help: 'Whether the database, the queue and the feed answer this process (1) or not (0).',
    labelNames: ['dependency'],
    registers: [registry],
  });
  const setDeliveries = createDeliveryGauges(registry);
  const setWebhooks = createWebhookGauge(registry);
  const setJobs = createQueueGauge(registry);
  const watchPools = addPoolGauges(registry);
  const collectors: (() => Promise<void>)[] = [];

  function ask<Value>(source: string, load: () => Promise<Value>, take: Take<Value>, fresh: number = freshMs): void {
    errors.inc({ source }, 0);
    const onError = (): void => errors.inc({ source });
    const read = createBoundedSource({ what: source, load, freshMs: fresh, limitMs, onError });
    collectors.push(async () => take(await read()));
  }

  return {
    watch({ checks, pools, loadDeliveries, countWebhooks, countJobs }) {
      watchPools(pools);
      for (const dependency of ['database', 'queue', 'feed'] as const) {
        const check = async (): Promise<true> => await checks[dependency]().then(() => true);
        ask(dependency, check, (answered) => up.set({ dependency }, answered === null ? 0 : 1));
      }
      ask('deliveries', loadDeliveries, setDeliveries);
      ask('webhooks', countWebhooks, setWebhooks, webhooksFreshMs);
      ask('jobs', countJobs, setJobs);
    },
    collect: async () => void (await Promise.all(collectors.map(async (collect) => await collect()))),
  };
}

/** Takes an answer, or null when there is none. */
type Take<Value> = (value: Value | null) => void;
