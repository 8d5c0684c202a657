import { judgeDurableRedis, judgeRedisPair, judgeVolatileRedis } from '../stack/judge-redis.ts';
import { readRedisFacts } from '../stack/redis-facts.ts';
import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';
import type { RedisFacts } from '../stack/redis-facts.ts';
import type { Secret } from '../secret.ts';

/** What there is to say of the two Redis; nothing where none is used. */
export async function examineRedis({ redis }: Config): Promise<Finding[]> {
  if (redis === null) return [];
  const [durable, volatile] = await Promise.all([
    readOrFail('REDIS_URI_DURABLE', redis.durableUrl),
    readOrFail('REDIS_URI_VOLATILE', redis.volatileUrl),
  ]);
  const pair = 'facts' in durable && 'facts' in volatile ? [judgeRedisPair(durable.facts, volatile.facts)] : [];
  return [
    ...('facts' in durable ? judgeDurableRedis(durable.facts) : [durable.failure]),
    ...('facts' in volatile ? judgeVolatileRedis(volatile.facts) : [volatile.failure]),
    ...pair,
  ];
}

async function readOrFail(setting: string, url: Secret<string>): Promise<{ facts: RedisFacts } | { failure: Finding }> {
  try {
    return { facts: await readRedisFacts(setting, url.reveal()) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const check = setting === 'REDIS_URI_DURABLE' ? 'durable Redis' : 'volatile Redis';
    return { failure: { check, status: 'failed', message, remedy: `Start that server, or correct ${setting}.` } };
  }
}
