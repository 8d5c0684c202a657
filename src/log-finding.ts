import type { Logger } from 'pino';
import type { Finding } from './finding.ts';

/** Logs what a check at the start found out: what is not as it should be as a warning, with what to do about it. */
export function logFinding(logger: Logger, { check, status, message, remedy }: Finding): void {
  const text = remedy === null ? message : `${message} ${remedy}`;
  if (status === 'ok') logger.debug({ check }, text);
  else if (status === 'unknown') logger.info({ check }, text);
  else logger.warn({ check }, text);
}
