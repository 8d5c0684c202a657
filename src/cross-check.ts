// What only several settings together get wrong. src/config.ts asks, and reports it beside what is wrong by itself.

type Given = Readonly<Record<string, string | undefined>>;

/** What is wrong with which settings are there. Looks at nothing else, so that it works beside one that is wrong by itself. */
export function checkPresence(given: Given): string[] {
  const has = (name: string): boolean => given[name] !== undefined;
  const problems: string[] = [];
  const redis = ['REDIS_URI_DURABLE', 'REDIS_URI_VOLATILE'];
  const missingRedis = redis.filter((name) => !has(name));
  if (missingRedis.length === 1) {
    problems.push(
      `${redis.find(has)} needs ${missingRedis.join('')} too: the queue is on the one, the feed on the other.`,
    );
  }
  if (missingRedis.length < 2 && !has('DATABASE_URL')) {
    problems.push(`${redis.find(has)} needs DATABASE_URL too: the embedded default uses no Redis.`);
  }
  if (has('DATABASE_URL') && !has('POSTHORN_ENCRYPTION_KEYS')) {
    problems.push(
      'POSTHORN_ENCRYPTION_KEYS is required with DATABASE_URL: make one with `echo "k1:$(openssl rand -base64 32)"`.',
    );
  }
  if (has('POSTHORN_ADMIN_KEY') && has('AGENTA_AUTH_KEY') && given['POSTHORN_ADMIN_KEY'] !== given['AGENTA_AUTH_KEY']) {
    problems.push('POSTHORN_ADMIN_KEY and AGENTA_AUTH_KEY name the same key and differ: set one of them.');
  }
  return problems;
}

/** Settings that bound each other. */
interface Amounts {
  WEBHOOK_TIMEOUT: number;
  WEBHOOK_DISABLE_AFTER: number;
  WEBHOOK_MAX_IN_FLIGHT: number;
  WORKER_MAX_IN_FLIGHT: number;
}

/** What is wrong between settings that are right by themselves; what was not given has its default. */
export function checkAmounts(amounts: Amounts, given: Given): string[] {
  const problems: string[] = [];
  if (amounts.WEBHOOK_DISABLE_AFTER <= amounts.WEBHOOK_TIMEOUT) {
    problems.push(
      `WEBHOOK_DISABLE_AFTER ${amounts.WEBHOOK_DISABLE_AFTER} must be more than WEBHOOK_TIMEOUT ${amounts.WEBHOOK_TIMEOUT}: one attempt that times out would disable its webhook.`,
    );
  }
  // Only where both were chosen: the default of the one is also good above the other, which then is the bound.
  const [ofWebhook, ofWorker] = [given['WEBHOOK_MAX_IN_FLIGHT'], given['WORKER_MAX_IN_FLIGHT']];
  const areGiven = ofWebhook !== undefined && ofWorker !== undefined;
  if (areGiven && amounts.WEBHOOK_MAX_IN_FLIGHT > amounts.WORKER_MAX_IN_FLIGHT) {
    problems.push(
      `WEBHOOK_MAX_IN_FLIGHT "${ofWebhook}" must be at most WORKER_MAX_IN_FLIGHT "${ofWorker}": the worker has no more room.`,
    );
  }
  return problems;
}
