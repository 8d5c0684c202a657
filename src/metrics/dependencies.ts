import { loadBacklog, type Backlog } from '../store/backlog.ts';
import { countOpenDeliveries, type OpenDeliveries } from '../store/open-deliveries.ts';
import { countWebhooks, type WebhookCounts } from '../store/webhook-counts.ts';
import type { ReadinessChecks } from '../operations/readiness.ts';
import type { DeliveryQueue, JobCounts } from '../queue.ts';
import type { Database } from '../store/database.ts';
import type { Pipelines } from '../store/pipelines.ts';
import type { WatchedPool } from './pool-metrics.ts';

/** What is asked when somebody reads the metrics, and the pools that are looked at. */
export interface Dependencies {
  checks: ReadinessChecks;
  pools: Record<string, WatchedPool>;
  loadDeliveries: () => Promise<DeliveryFigures>;
  countWebhooks: () => Promise<WebhookCounts>;
  countJobs: () => Promise<JobCounts>;
}

/** How deliveries are, over all processes. */
export interface DeliveryFigures {
  backlog: Backlog;
  open: OpenDeliveries;
}

/** What a process stands on. */
interface Standing {
  checks: ReadinessChecks;
  queue: DeliveryQueue;
  pipelines: Pipelines;
  /** Null without the gateway, which alone reads. */
  database: Database | null;
  /** SWEEP_GRACE in milliseconds. */
  graceMs: number;
}

/** The dependencies of a process; what is asked of the database is asked through the pool for upkeep. */
export function dependenciesOf({ checks, queue, pipelines, database, graceMs }: Standing): Dependencies {
  const { pipeline, upkeep } = pipelines;
  const ofGateway = database === null ? {} : { reads: database.reads, prisma: database.prismaPool };
  return {
    checks,
    pools: { pipeline, upkeep, ...ofGateway },
    countJobs: async () => await queue.countJobs(),
    countWebhooks: async () => await countWebhooks(upkeep),
    loadDeliveries: async () => {
      const [backlog, open] = await Promise.all([loadBacklog(upkeep, graceMs), countOpenDeliveries(upkeep)]);
      return { backlog, open };
    },
  };
}
