import type { DemoFeedItem } from './demo-feed.ts';
import type { DemoRequest } from './demo-receiver.ts';

/** What the feed showed of the demo's events. */
export interface DemoTally {
  deliveredCount: number;
  /** Deliveries that ended, delivered or not. */
  endedCount: number;
  attemptCount: number;
  /** Attempts that were followed by another one. */
  retriedCount: number;
}

/** Counts what the feed showed of these events. */
export function tallyOf(items: readonly DemoFeedItem[], eventIds: ReadonlySet<string>): DemoTally {
  const ours = items.filter((item) => item.delivery !== null && eventIds.has(item.delivery.event.id));
  const count = (...changes: string[]): number => ours.filter((item) => changes.includes(item.change)).length;
  return {
    deliveredCount: count('DELIVERED'),
    endedCount: count('DELIVERED', 'FAILED', 'SKIPPED', 'CANCELLED'),
    attemptCount: ours.filter((item) => item.attempt !== null).length,
    retriedCount: count('RETRY_SCHEDULED'),
  };
}

/** The summary that the demo ends with. */
export function tallyText(seen: { tally: DemoTally; requests: readonly DemoRequest[]; eventCount: number }): string {
  const { tally, requests, eventCount } = seen;
  return [
    '',
    `Events      ${eventCount} emitted`,
    `Deliveries  ${tally.deliveredCount} of ${tally.endedCount} delivered`,
    `Attempts    ${tally.attemptCount}, of which ${tally.retriedCount} failed and were retried`,
    `Signatures  ${verifiedCount(requests)} of ${requests.length} verified by the standardwebhooks package`,
  ].join('\n');
}

/** Compares the three accounts of what happened: feed, receiver and database. Throws a sentence on the first difference. */
export function checkTally(seen: {
  tally: DemoTally;
  requests: readonly DemoRequest[];
  /** Attempts of each stored delivery. */
  stored: readonly number[];
  expected: { deliveryCount: number; attemptCount: number };
}): void {
  const { tally, requests, stored, expected } = seen;
  const storedAttemptCount = stored.reduce((sum, count) => sum + count, 0);
  const accounts: [what: string, actual: number, expected: number][] = [
    ['deliveries that the feed showed as delivered', tally.deliveredCount, expected.deliveryCount],
    ['attempts that the feed showed', tally.attemptCount, expected.attemptCount],
    ['requests that the receiver got', requests.length, expected.attemptCount],
    ['requests whose signature the receiver verified', verifiedCount(requests), expected.attemptCount],
    ['deliveries in the database', stored.length, expected.deliveryCount],
    ['attempts in the database', storedAttemptCount, expected.attemptCount],
  ];
  const wrong = accounts.find(([, actual, wanted]) => actual !== wanted);
  if (wrong !== undefined) throw new Error(`the demo expected ${wrong[2]} ${wrong[0]}, and there were ${wrong[1]}`);
}

function verifiedCount(requests: readonly DemoRequest[]): number {
  return requests.filter((request) => request.verified).length;
}
