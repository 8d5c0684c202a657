import { setTimeout as after } from 'node:timers/promises';
import { deliveryStatuses } from '../../src/domain/delivery.ts';
import type { DeliveryStatus } from '../../src/domain/delivery.ts';
import { parseId, uuidOf } from '../../src/domain/ids.ts';
import { readDeliveries } from './chaos-outcome.ts';
import { pauseHopeless } from './chaos-projects.ts';
import type { ChaosRun } from './chaos-run.ts';
import { receiverPlans, works } from './chaos-tempers.ts';

// How a run comes to rest, within limits.

/** What it may take until all is delivered, and on top for each event: circuits reopen, claims of the dead lapse. */
const deliveredLimitMs = 60_000;
const deliveredMsPerEvent = 3;
const restLimitMs = 30_000;
const agreeLimitMs = 30_000;

/**
 * Waits until all that can be delivered is, pauses the webhooks whose receivers never work, and waits until their last
 * attempts are over. Gives what is still open after the limits, in words.
 */
export async function drain(run: ChaosRun): Promise<string[]> {
  const limitMs = deliveredLimitMs + run.emission.eventCount * deliveredMsPerEvent;
  const undelivered = deliveryStatuses.filter((status) => status !== 'DELIVERED');
  const working = run.projects.flatMap(({ webhookIds }) =>
    webhookIds.filter((_id, place) => works(receiverPlans[place]?.temper ?? 'REFUSING')),
  );
  const open = await untilNone(run, { webhookIds: working, statuses: undelivered }, limitMs);
  for (const project of run.projects) await pauseHopeless(project);
  const all = run.projects.flatMap(({ webhookIds }) => webhookIds);
  return [...open, ...(await untilNone(run, { webhookIds: all, statuses: ['DELIVERING'] }, restLimitMs))];
}

interface OpenDeliveries {
  webhookIds: readonly string[];
  statuses: readonly DeliveryStatus[];
}

/** Waits until there is no such delivery; after the limit it gives how many there still are, by webhook and status. */
async function untilNone({ database }: ChaosRun, open: OpenDeliveries, limitMs: number): Promise<string[]> {
  const deadline = performance.now() + limitMs;
  const values = [open.webhookIds.map((id) => uuidOf(parseId('webhook', id))), open.statuses];
  for (;;) {
    const { rows } = await database.upkeep.query<{ name: string; status: string; count: string }>({
      text: `select w.name, d.status::text, count(*) from deliveries d join webhooks w on w.id = d.webhook_id
             where d.webhook_id = any($1::uuid[]) and d.status::text = any($2::text[]) group by w.id, d.status`,
      values,
    });
    if (rows.length === 0) return [];
    if (performance.now() > deadline) return rows.map(({ name, status, count }) => `${count} to ${name}: ${status}`);
    await after(500);
  }
}

/** Waits until every subscriber has what Postgres has, or the time for it is over: then a check says what is missing. */
export async function untilAllAgree({ database, projects, subscribers }: ChaosRun): Promise<void> {
  const deadline = performance.now() + agreeLimitMs;
  const deliveries = await readDeliveries(
    database,
    projects.flatMap(({ webhookIds }) => webhookIds),
  );
  const agree = (): boolean =>
    subscribers.every(({ project, subscriber: { view } }) =>
      deliveries.every(({ id, project: theirs, status, attemptCount }) => {
        const seen = view.get(id);
        return theirs !== project || (seen?.status === status && seen.attemptCount === attemptCount);
      }),
    );
  while (!agree() && performance.now() < deadline) await after(100);
}
