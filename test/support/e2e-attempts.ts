import { expect } from 'vitest';
import { EventInFullDocument } from '../generated/graphql.ts';
import type { EventInFullQuery } from '../generated/graphql.ts';
import { createWebhook, emit } from './e2e-calls.ts';
import { untilFound } from './e2e-client.ts';
import type { ApiClient } from './e2e-client.ts';
import { createStack } from './e2e-stack.ts';
import type { E2eStack } from './e2e-stack.ts';
import { authorityFile } from './receiver-authority.ts';

// One event to webhooks at one receiver, and everything that the API says of the attempts.

/** A delivery with everything that is shown of its attempts, newest first. */
export type DeliveryInFull = NonNullable<EventInFullQuery['event']>['deliveries']['nodes'][number];
export type AttemptInFull = DeliveryInFull['attempts']['nodes'][number];

/** The deadline of an attempt on a `createReceiverStack`. */
export const attemptTimeoutMs = 2000;
/** A timer may be late on a busy machine; a deadline that is not kept is late by seconds. */
const latenessMs = 1500;

/** An embedded stack for a Posthorn with a short deadline and quick retries that trusts the tests' authority. */
export async function createReceiverStack(): Promise<E2eStack> {
  const env = { WEBHOOK_TIMEOUT: String(attemptTimeoutMs / 1000), NODE_EXTRA_CA_CERTS: authorityFile };
  return await createStack('embedded', env);
}

export interface WebhookLimits {
  maxAttempts?: number;
  retrySchedule?: number[];
}

let eventCount = 0;

/**
 * Makes a webhook at the URL for each of the limits, emits one event to them all, and gives their deliveries in that
 * order as soon as each has been attempted or, with `untilEnd`, has ended.
 */
export async function deliverTo(
  client: ApiClient,
  url: string,
  webhooks: readonly WebhookLimits[],
  { data = {}, untilEnd = false }: { data?: unknown; untilEnd?: boolean } = {},
): Promise<DeliveryInFull[]> {
  eventCount += 1;
  const name = `Receiver ${eventCount}`;
  const made = await Promise.all(webhooks.map(async (limits) => await createWebhook(client, name, { url, ...limits })));
  const { eventId } = await emit(client, made[0]?.eventType ?? '', data);
  const deliveries = await untilSettled(client, eventId, untilEnd);
  return made.map(({ webhook }) => {
    const delivery = deliveries.find((candidate) => candidate.webhook.id === webhook.id);
    if (delivery === undefined) throw new Error(`no delivery to ${webhook.id}`);
    return delivery;
  });
}

/** The deliveries of an event as soon as an attempt at each has been recorded or, with `untilEnd`, none follows. */
export async function untilSettled(client: ApiClient, eventId: string, untilEnd: boolean): Promise<DeliveryInFull[]> {
  const settled: readonly string[] = untilEnd ? ['DELIVERED', 'FAILED'] : ['DELIVERED', 'FAILED', 'RETRYING'];
  return await untilFound(`the deliveries of ${eventId} to be ${settled.join(' or ')}`, async () => {
    const { event } = await client.run(EventInFullDocument, { id: eventId });
    const deliveries = event?.deliveries.nodes ?? [];
    return deliveries.length > 0 && deliveries.every(({ status }) => settled.includes(status)) ? deliveries : null;
  });
}

/** The attempts of a delivery, oldest first. */
export function attemptsOf(delivery: DeliveryInFull | undefined): AttemptInFull[] {
  return delivery?.attempts.nodes.toReversed() ?? [];
}

/** When an attempt ended, in milliseconds since the epoch; its duration is rounded. */
export function endOf(attempt: AttemptInFull | undefined): number {
  return Date.parse(attempt?.startedAt ?? '') + (attempt?.durationMs ?? Number.NaN);
}

/** What holds of every attempt: its times fit together and its deadline was kept, and what it shows can be shown. */
export function expectWellFormed(attempt: AttemptInFull | undefined, emittedAt: number): void {
  if (attempt === undefined) throw new Error('there is no attempt');
  const { timings, durationMs } = attempt;
  expect(Date.parse(attempt.startedAt)).toBeGreaterThanOrEqual(emittedAt);
  expect(endOf(attempt)).toBeLessThanOrEqual(Date.now() + 1);
  expect(durationMs).toBeGreaterThanOrEqual(0);
  expect(durationMs).toBeLessThan(attemptTimeoutMs + latenessMs);
  const phases = [timings.dnsMs, timings.connectMs, timings.tlsMs, timings.firstByteMs].map((phase) => phase ?? 0);
  expect(Math.min(...phases)).toBeGreaterThanOrEqual(0);
  // Each phase is rounded by itself.
  expect(phases.reduce((sum, phase) => sum + phase, 0)).toBeLessThanOrEqual(durationMs + phases.length);
  expect(timings.firstByteMs === null && attempt.responseStatus !== null).toBe(false);
  if (attempt.errorCode !== null) expect(attempt.errorMessage).toMatch(/^\S.+\.$/);
  expect(attempt.responseHeaders.length).toBeLessThanOrEqual(32);
  expect(Buffer.byteLength(attempt.responseBody ?? '')).toBeLessThanOrEqual(4096);
  const shown = [attempt.responseBody ?? '', ...attempt.responseHeaders.map(({ value }) => value)].join('\n');
  expect(shown.isWellFormed()).toBe(true);
  expect(shown).not.toMatch(/[\p{Cc}--[\n\t]]/v);
}
