import type { Logger } from 'pino';
import type { OutageOptions } from './outage.ts';

/** Logs an outage of a server as two lines, however much it fails. */
export function tellOutage(logger: Logger, server: string): Pick<OutageOptions, 'onBegin' | 'onEnd'> {
  return {
    onBegin: (error) => logger.error({ err: error, server }, 'outage: a server is away; it is probed until it is back'),
    onEnd: (outage) => logger.warn({ ...outage, server }, 'outage over'),
  };
}
