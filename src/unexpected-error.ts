import type { Logger } from 'pino';

/**
 * Ends the process with code 1 when an error reaches nobody: one thrown outside of any call, or a rejection that nobody
 * handles. The log says which, as its last line. What state the process is in is unknown then, so it does not go on, and
 * does not stop gracefully either: what it had under way is found by sweep, as after any crash.
 */
export function exitOnUnexpectedError(logger: Logger): void {
  process.on('uncaughtException', (error, origin) => {
    logger.fatal({ err: error, origin }, 'an error that nobody handles ends the process');
    process.exit(1);
  });
}
