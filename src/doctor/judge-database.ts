import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';
import type { MigrationState } from '../stack/migrate.ts';
import type { Backlog } from '../store/backlog.ts';

/** Receivers take signatures that are 5 min old; a minute of that is too much to lose to a clock. */
const skewWarnMs = 5_000;
const skewFailMs = 60_000;
/** How much longer than the grace a delivery or a sweep may be late. */
const lateWarnMs = 60_000;

/** Judges how far the clock of Postgres is ahead of ours; it took `roundTripMs` to ask, so that much is uncertain. */
export function judgeClock(aheadMs: number, roundTripMs: number): Finding {
  const check = 'clocks';
  const skewMs = Math.max(0, Math.abs(aheadMs) - roundTripMs / 2);
  const word = aheadMs < 0 ? 'behind' : 'ahead of';
  const message = `The clock of PostgreSQL is ${Math.round(Math.abs(aheadMs))} ms ${word} this machine's.`;
  if (skewMs <= skewWarnMs) return { check, status: 'ok', message, remedy: null };
  const remedy = 'Let NTP set the clocks of both machines: signatures carry the time.';
  return { check, status: skewMs > skewFailMs ? 'failed' : 'warning', message, remedy };
}

/** Judges whether the database has the tables of this version. */
export function judgeMigrations({ pending, unfinished, unknown }: MigrationState): Finding {
  const check = 'migrations';
  if (unfinished.length > 0) {
    const message = `A migration was begun by another tool and has not ended: ${unfinished.join(', ')}.`;
    return {
      check,
      status: 'failed',
      message,
      remedy: 'Read its error in _prisma_migrations, undo what it left, delete that row and run `posthorn migrate`.',
    };
  }
  if (pending.length > 0) {
    const message = `The database lacks ${pending.join(', ')}.`;
    return { check, status: 'failed', message, remedy: 'Run `posthorn migrate`.' };
  }
  if (unknown.length > 0) {
    const message = `The database has migrations of a newer Posthorn: ${unknown.join(', ')}.`;
    return { check, status: 'warning', message, remedy: 'Update this Posthorn too.' };
  }
  return { check, status: 'ok', message: 'The database is up to date.', remedy: null };
}

/** Judges whether all that is stored can be decrypted; `unreadable` are ids of keys. */
export function judgeKeys(configured: readonly string[], unreadable: readonly string[]): Finding {
  const check = 'encryption keys';
  if (unreadable.length === 0) {
    return { check, status: 'ok', message: `Stored secrets can be read with ${configured.join(', ')}.`, remedy: null };
  }
  const message = `Secrets that were encrypted with ${unreadable.join(', ')} cannot be read: POSTHORN_ENCRYPTION_KEYS has ${configured.join(', ')}, or another key of that id.`;
  return {
    check,
    status: 'failed',
    message,
    remedy: 'Add the keys that are missing behind the first; without them those webhooks cannot be signed for.',
  };
}

/** Judges how long deliveries wait, and whether anybody sweeps. */
export function judgeBacklog(
  backlog: Backlog,
  config: Pick<Config, 'sweepGraceMs' | 'sweepIntervalMs'>,
  now: Date,
): Finding[] {
  return [judgeOverdue(backlog, config.sweepGraceMs, now), judgeSweep(backlog, config, now)];
}

function judgeOverdue({ overdueCount, oldestDueAt }: Backlog, graceMs: number, now: Date): Finding {
  const check = 'due deliveries';
  if (oldestDueAt === null) return { check, status: 'ok', message: 'None is overdue.', remedy: null };
  const waitedMs = now.getTime() - oldestDueAt.getTime();
  const count = overdueCount === 10_000 ? 'At least 10000' : String(overdueCount);
  const message = `${count} overdue; the oldest has been due for ${Math.round(waitedMs / 1000)} s.`;
  if (waitedMs <= graceMs + lateWarnMs) return { check, status: 'ok', message, remedy: null };
  return {
    check,
    status: 'warning',
    message,
    remedy: 'See that workers run and are well; add more when they are busy.',
  };
}

function judgeSweep(
  { sweptUntil }: Backlog,
  config: Pick<Config, 'sweepGraceMs' | 'sweepIntervalMs'>,
  now: Date,
): Finding {
  const check = 'sweep';
  const remedy = 'Run `posthorn worker`, or `posthorn start`, which is one too.';
  if (sweptUntil === null) return { check, status: 'warning', message: 'No worker has swept yet.', remedy };
  const agoMs = Math.max(0, now.getTime() - sweptUntil.getTime() - config.sweepGraceMs);
  const message = `A worker swept ${Math.round(agoMs / 1000)} s ago.`;
  if (agoMs <= config.sweepIntervalMs + lateWarnMs) return { check, status: 'ok', message, remedy: null };
  return { check, status: 'warning', message, remedy };
}
