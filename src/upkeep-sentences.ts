import type { CleanupResult } from './store/cleanup.ts';

/** What came of hints to the workers. */
export interface Enqueued {
  enqueuedCount: number;
  /** Whether no Posthorn runs on the database. */
  alone: boolean;
  /** False when a signal stopped it. */
  finished: boolean;
}

/** Says how many deliveries were enqueued, and when they go out if nobody runs. */
export function enqueuedSentence(kind: 'overdue' | 'stuck', { enqueuedCount, alone, finished }: Enqueued): string {
  const done = `Gave ${counted(enqueuedCount, `${kind} delivery`, `${kind} deliveries`)} to the workers`;
  const waiting = alone && enqueuedCount > 0 ? '; no Posthorn runs here, so they go out at its next start' : '';
  return `${stopped(finished)}${done}${waiting}.`;
}

/** Says what a cleanup removed, and how far it came. */
export function cleanupSentence(days: number, removed: CleanupResult): string {
  const counts = [
    counted(removed.eventCount, 'event', 'events'),
    counted(removed.deliveryCount, 'delivery', 'deliveries'),
    counted(removed.attemptCount, 'attempt', 'attempts'),
    counted(removed.recoveryCount, 'recovery', 'recoveries'),
  ].join(', ');
  const audit = counted(removed.auditEntryCount, 'audit entry', 'audit entries');
  const age = `that ended more than ${counted(days, 'day', 'days')} ago`;
  const rest = removed.finished ? '' : ' The next cleanup goes on.';
  return `${stopped(removed.finished)}Removed ${counts} and ${audit} ${age}.${rest}`;
}

function stopped(finished: boolean): string {
  return finished ? '' : 'Stopped by a signal. ';
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;
}
