import { collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import { createBoundedSource } from './bounded-source.ts';
import { createDependencyMetrics } from './dependency-metrics.ts';
import { createEventMetrics } from './event-metrics.ts';
import { createFeedMetrics } from './feed-metrics.ts';
import { createGatewayMeter } from './gateway-metrics.ts';
import { createScheduleTimer } from './schedule-metrics.ts';
import { createWorkerMeter } from './worker-metrics.ts';
import type { TimeRun, WorkerMeter } from '../../worker/worker-meter.ts';
import type { Feed } from '../feed/feed.ts';
import type { GatewayMeter } from '../gateway/gateway-meter.ts';
import type { MetricsPage } from '../operations/operations-routes.ts';
import type { EmitEvent } from '../store/emit-event.ts';
import type { Dependencies } from './dependencies.ts';

// src/metrics: what Prometheus reads of a process. Invariant: names begin with `posthorn_` (the runtime's own apart), units
// are seconds and bytes, no label names a project or a webhook, and reading waits for nobody: what does not answer is left
// out and counted. The composition root makes one for the process and hands down its parts, which are ports of the worker
// and the gateway, so that nothing else knows prom-client. alerts.yml and dashboard.json use these names.

/** What a process measures, and its page. Nothing of it has to be closed. */
export interface Metrics {
  page: MetricsPage;
  worker: WorkerMeter;
  gateway: GatewayMeter;
  timeRun: TimeRun;
  /** The feed, with what is published through it counted. */
  meterFeed(feed: Feed): Feed;
  /** The emitter, with what became of events counted. */
  meterEmitter(emitEvent: EmitEvent): EmitEvent;
  /** From now on the page says how these are, too. */
  watch(dependencies: Dependencies): void;
}

export interface MetricsOptions {
  version: string;
  /** What the process runs, as in `gateway` or `gateway,worker`. */
  roles: string;
  /** The longest that an attempt may take, in milliseconds: the last bucket of its histogram. */
  attemptTimeoutMs: number;
}

/** For how long a page is given again, and how long its making may take, in milliseconds. */
const pageFreshMs = 1_000;
const pageLimitMs = 5_000;

/** Creates the metrics of this process, in a registry of their own. */
export function createMetrics({ version, roles, attemptTimeoutMs }: MetricsOptions): Metrics {
  const registry = new Registry();
  addBuildInfo(registry, { version, node: process.version, roles });
  const timeRun = createScheduleTimer(registry);
  const feedMetrics = createFeedMetrics(registry);
  const dependencies = createDependencyMetrics(registry);
  const metrics = {
    worker: createWorkerMeter(registry, { attemptTimeoutMs, timeRun }),
    gateway: createGatewayMeter(registry),
    timeRun,
    meterFeed: (feed: Feed) => feedMetrics.meter(feed),
    meterEmitter: createEventMetrics(registry),
    watch: (given: Dependencies) => dependencies.watch(given),
  };
  collectDefaultMetrics({ register: registry });
  const read = createBoundedSource({
    what: 'the metrics',
    load: async () => {
      await dependencies.collect();
      return await registry.metrics();
    },
    freshMs: pageFreshMs,
    limitMs: pageLimitMs,
    onError: () => undefined,
  });
  return {
    ...metrics,
    page: {
      contentType: registry.contentType,
      async read() {
        const text = await read();
        if (text === null) throw new Error('the metrics could not be read');
        return text;
      },
    },
  };
}

function addBuildInfo(registry: Registry, labels: Record<'version' | 'node' | 'roles', string>): void {
  const gauge = new Gauge({
    name: 'posthorn_build_info',
    help: 'Always 1; the labels say what runs.',
    labelNames: ['version', 'node', 'roles'],
    registers: [registry],
  });
  gauge.set(labels, 1);
}
