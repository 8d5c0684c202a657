/** What a check of the deployment found out: about what, how it is, and what to do about it. */
export interface Finding {
  /** What was looked at, such as `durable Redis: eviction`. */
  check: string;
  /** `unknown`: it could not be found out, which may be all right. */
  status: 'ok' | 'warning' | 'failed' | 'unknown';
  /** One sentence that names the thing and its value, never a secret. */
  message: string;
  /** What to do, as one sentence; null where there is nothing to do. */
  remedy: string | null;
}
