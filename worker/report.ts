import { isFeedAway } from '../src/feed/feed.ts';
import { QueueAwayError } from '../src/queue-outage.ts';
import type { Pipelines } from '../src/store/pipelines.ts';
import type { Logger } from 'pino';

/** Tells operators what failed and what that means. */
export type Report = (message: string, error: unknown) => void;

/** Gives the function that logs what failed at the level, unless it is of an outage, which tells of itself. */
export function createReport(logger: Logger, level: 'warn' | 'error', { outage }: Pick<Pipelines, 'outage'>): Report {
  return (message, error) => {
    if (error instanceof QueueAwayError || isFeedAway(error) || outage.failed(error)) return;
    logger[level]({ err: error }, message);
  };
}
