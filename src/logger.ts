import { pino } from 'pino';
import type { Logger } from 'pino';

/** JSON lines on standard error, so that what a command prints for people stays readable by itself. */
export function createLogger(level: string): Logger {
  return pino({ level, serializers: { err: errorFields } }, pino.destination(2));
}

/** What a log line says of an error: never its other properties, which may hold connections and credentials. */
function errorFields(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, stack, cause } = error;
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  return { name, message, ...code, stack, ...(cause === undefined ? {} : { cause: errorFields(cause) }) };
}
