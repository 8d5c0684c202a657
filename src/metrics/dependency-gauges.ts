import { Gauge } from 'prom-client';
import { webhookStatuses } from '../store/webhook-counts.ts';
import type { Registry } from 'prom-client';
import type { JobCounts } from '../queue.ts';
import type { Backlog } from '../store/backlog.ts';
import type { WebhookCounts } from '../store/webhook-counts.ts';
import type { DeliveryFigures } from './dependencies.ts';

/** Takes an answer into gauges; null, when there is none, leaves them out. */
type Take<Value> = (value: Value | null) => void;

/** Creates the gauges of the deliveries that wait. */
export function createDeliveryGauges(registry: Registry): Take<DeliveryFigures> {
  const setOverdue = absentable(registry, {
    name: 'posthorn_deliveries_overdue',
    help: 'Deliveries overdue by more than SWEEP_GRACE, in all processes, counted up to 10,000.',
  });
  const setOldest = absentable(registry, {
    name: 'posthorn_oldest_due_age_seconds',
    help: 'How long the delivery that is overdue the longest has been due; 0 when none is overdue by more than SWEEP_GRACE.',
  });
  const setSwept = absentable(registry, {
    name: 'posthorn_swept_until_timestamp_seconds',
    help: 'Up to when sweep has looked at new deliveries, in Unix time.',
  });
  const waiting = new Gauge({
    name: 'posthorn_deliveries_waiting',
    help: 'Deliveries that wait, in all processes, each state counted up to 10,000: pending and retrying for their time, held for their webhook, stuck for a worker since their claim went stale.',
    labelNames: ['state'],
    registers: [registry],
  });
  const setBacklog = ({ overdueCount, oldestDueAt, sweptUntil }: Backlog): void => {
    setOverdue(overdueCount);
    setOldest(ageSeconds(oldestDueAt));
    setSwept(sweptUntil === null ? null : sweptUntil.getTime() / 1000);
  };
  return (figures) => {
    waiting.reset();
    if (figures === null) return [setOverdue, setOldest, setSwept].forEach((set) => set(null));
    setBacklog(figures.backlog);
    const { pending, retrying, held, stuck } = figures.open;
    for (const [state, count] of Object.entries({ pending, retrying, held, stuck })) waiting.set({ state }, count);
  };
}

/** Creates the gauge of webhooks by status. */
export function createWebhookGauge(registry: Registry): Take<WebhookCounts> {
  const gauge = new Gauge({
    name: 'posthorn_webhooks',
    help: 'Webhooks of all projects by status; counted once a minute.',
    labelNames: ['status'],
    registers: [registry],
  });
  return (counts) => {
    gauge.reset();
    if (counts !== null) for (const status of webhookStatuses) gauge.set({ status }, counts[status]);
  };
}

/** Creates the gauge of the queue's jobs. */
export function createQueueGauge(registry: Registry): Take<JobCounts> {
  const gauge = new Gauge({
    name: 'posthorn_queue_jobs',
    help: 'Jobs in the queue by state: waiting, active or delayed. One that waits has up to 50 deliveries, a delayed one has one.',
    labelNames: ['state'],
    registers: [registry],
  });
  return (counts) => {
    gauge.reset();
    if (counts === null) return;
    const { waiting, active, delayed } = counts;
    for (const [state, count] of Object.entries({ waiting, active, delayed })) gauge.set({ state }, count);
  };
}

/** A gauge without labels that can be left out: prom-client shows such a one as 0. */
function absentable(registry: Registry, { name, help }: { name: string; help: string }): Take<number> {
  const gauge = new Gauge({ name, help, registers: [registry] });
  gauge.remove();
  return (value) => {
    if (value === null) gauge.remove();
    else gauge.set(value);
  };
}

function ageSeconds(since: Date | null): number {
  return since === null ? 0 : Math.max(0, (Date.now() - since.getTime()) / 1000);
}
