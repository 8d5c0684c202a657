import { stopLimitMs } from '../domain/stop-limit.ts';
import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';

/** Judges whether an attempt always ends before a worker that stops breaks it off. */
export function judgeStop({ attemptTimeoutMs }: Pick<Config, 'attemptTimeoutMs'>): Finding {
  const check = 'stop';
  const timeout = `WEBHOOK_TIMEOUT ${attemptTimeoutMs / 1000}`;
  const limit = `the ${stopLimitMs / 1000} s that a worker has to stop`;
  if (attemptTimeoutMs < stopLimitMs) {
    return { check, status: 'ok', message: `An attempt ends (${timeout}) within ${limit}.`, remedy: null };
  }
  return {
    check,
    status: 'warning',
    message: `An attempt may take longer (${timeout}) than ${limit}: what is under way then is broken off and made again.`,
    remedy: `Set WEBHOOK_TIMEOUT below ${stopLimitMs / 1000}, or expect requests to come twice when workers are replaced.`,
  };
}
