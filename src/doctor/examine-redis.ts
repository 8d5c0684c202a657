import { judgeDurableRedis, judgeRedisPair, judgeVolatileRedis } from '../stack/judge-redis.ts';
import { readRedisFacts } from '../stack/redis-facts.ts';
import { judgeEncryption } from './judge-encryption.ts';
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
    judgeRedisEncryption('durable Redis: encryption', redis.durableUrl),
    ...('facts' in volatile ? judgeVolatileRedis(volatile.facts) : [volatile.failure]),
    judgeRedisEncryption('volatile Redis: encryption', redis.volatileUrl),
    ...pair,
  ];
}

function judgeRedisEncryption(check: string, url: Secret<string>): Finding {
  const { hostname, protocol } = new URL(url.reveal());
  const remedy = 'Use a Redis that speaks TLS, by a URL rediss://…';
  return judgeEncryption(check, hostname, protocol === 'rediss:', remedy);
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
