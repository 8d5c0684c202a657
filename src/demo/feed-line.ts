import { styleText } from 'node:util';
import type { DemoFeedItem } from './demo-feed.ts';

const colours = { DELIVERED: 'green', RETRY_SCHEDULED: 'yellow', FAILED: 'red' } as const;

/**
 * A feed item as one aligned line: time, change, event type, webhook, attempt, status, latency, and the wait for the
 * next attempt. Coloured when standard output is a terminal that shows colours.
 */
export function feedLine(item: DemoFeedItem): string {
  const { at, change, delivery, webhook } = item;
  const columns = [
    at.slice(11, 23),
    change.padEnd(15),
    (delivery?.event.type ?? '').padEnd(19),
    webhook.name.padEnd(7),
    attemptText(item.attempt),
    remark(item),
  ];
  return coloured(change, columns.join('  ').trimEnd());
}

function attemptText(attempt: DemoFeedItem['attempt']): string {
  if (attempt === null) return '';
  const { number, responseStatus, errorCode, durationMs } = attempt;
  const status = String(responseStatus ?? errorCode ?? '');
  return `attempt ${number}  ${status.padEnd(7)}  ${`${durationMs} ms`.padStart(7)}`;
}

/** A remark follows an attempt's columns; nothing else is ever retried. */
function remark({ at, delivery, attempt }: DemoFeedItem): string {
  if (attempt?.trigger === 'TEST') return 'test';
  const nextAttemptAt = delivery?.nextAttemptAt ?? null;
  if (nextAttemptAt === null) return '';
  const waitMs = Math.max(0, Date.parse(nextAttemptAt) - Date.parse(at));
  return `next try in ${(waitMs / 1000).toFixed(1)} s`;
}

function coloured(change: string, line: string): string {
  const colour = Object.entries(colours).find(([name]) => name === change)?.[1];
  return styleText(colour ?? 'dim', line);
}
