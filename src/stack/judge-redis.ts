import type { Finding } from '../finding.ts';
import type { RedisFacts } from './redis-facts.ts';

/** What BullMQ recommends; the feed's and the rate limit's scripts need less. */
const versionMin = '6.2.0';
const bytesPerMebibyte = 1024 * 1024;
/** Share of its memory from which on a Redis is nearly full. */
const memoryShareMax = 0.8;

/** What there is to say of the queue's Redis, which must lose nothing. */
export function judgeDurableRedis(facts: RedisFacts): Finding[] {
  return [judgeVersion('durable Redis', facts), judgeEviction(facts), judgePersistence(facts), judgeMemory(facts)];
}

/** What there is to say of the feed's Redis, which may be emptied at any moment. */
export function judgeVolatileRedis(facts: RedisFacts): Finding[] {
  return [judgeVersion('volatile Redis', facts), ...judgeFullness(facts)];
}

/** A finding where its memory runs out and it evicts nothing; any other may be as full as it likes. */
function judgeFullness({ usedBytes, maxBytes, evictionPolicy, place }: RedisFacts): Finding[] {
  const isRoomy = usedBytes === null || !maxBytes || usedBytes < maxBytes * memoryShareMax;
  if (isRoomy || evictionPolicy !== 'noeviction') return [];
  return [
    {
      check: 'volatile Redis: memory',
      status: 'warning',
      message: `The volatile Redis at ${place} is nearly full and evicts nothing: a full one takes no items of the feed, and who watches is told that it is away.`,
      remedy: 'Set `maxmemory-policy allkeys-lru` in its configuration, or raise its maxmemory.',
    },
  ];
}

/** Says whether the two are apart, so that the limits and the loss of the one do not reach the other. */
export function judgeRedisPair(durable: RedisFacts, volatile: RedisFacts): Finding {
  const check = 'Redis apart';
  const isSameServer =
    durable.runId === null || volatile.runId === null
      ? durable.place === volatile.place
      : durable.runId === volatile.runId;
  if (!isSameServer || durable.database !== volatile.database) {
    return { check, status: 'ok', message: 'Queue and feed are apart.', remedy: null };
  }
  return {
    check,
    status: 'warning',
    message: `REDIS_URI_DURABLE and REDIS_URI_VOLATILE name the same Redis at ${durable.place} and its database ${durable.database}, so that what empties the feed empties the queue.`,
    remedy: 'Give the feed a Redis of its own: it may evict and need not persist.',
  };
}

function judgeVersion(name: string, { version, place }: RedisFacts): Finding {
  const check = `${name}: version`;
  if (version === null)
    return unknownFinding(check, place, 'its version', `Make sure that it is ${versionMin} or later.`);
  if (isAtLeast(version, versionMin))
    return { check, status: 'ok', message: `It is ${version} at ${place}.`, remedy: null };
  const message = `The ${name} at ${place} is version ${version}, which is too old.`;
  return { check, status: 'failed', message, remedy: `Use Redis ${versionMin} or later.` };
}

function judgeEviction({ evictionPolicy, place }: RedisFacts): Finding {
  const check = 'durable Redis: eviction';
  if (evictionPolicy === 'noeviction') return { check, status: 'ok', message: 'It evicts nothing.', remedy: null };
  const wanted = 'Set `maxmemory-policy noeviction` in its configuration.';
  if (evictionPolicy === null) return unknownFinding(check, place, 'its maxmemory-policy', wanted);
  const message = `The durable Redis at ${place} has maxmemory-policy ${evictionPolicy} and not noeviction: when its memory is full, it drops jobs of the queue.`;
  return { check, status: 'failed', message, remedy: wanted };
}

function judgePersistence({ persistence, place }: RedisFacts): Finding {
  const check = 'durable Redis: persistence';
  const wanted = 'Set `appendonly yes` in its configuration.';
  if (persistence === null) return unknownFinding(check, place, 'its persistence', wanted);
  if (persistence !== 'none') return { check, status: 'ok', message: `It keeps ${persistence}.`, remedy: null };
  const message = `The durable Redis at ${place} has appendonly no and no save rule: a restart empties the queue, and its deliveries wait for sweep.`;
  return { check, status: 'failed', message, remedy: wanted };
}

function judgeMemory({ usedBytes, maxBytes, place }: RedisFacts): Finding {
  const check = 'durable Redis: memory';
  if (usedBytes === null || maxBytes === null) {
    return unknownFinding(check, place, 'its memory', 'See that it has room for the queue.');
  }
  const used = `${Math.ceil(usedBytes / bytesPerMebibyte)} MiB`;
  if (maxBytes === 0) return { check, status: 'ok', message: `It holds ${used} and has no maxmemory.`, remedy: null };
  const message = `It holds ${used} of its maxmemory ${Math.floor(maxBytes / bytesPerMebibyte)} MiB.`;
  if (usedBytes < maxBytes * memoryShareMax) return { check, status: 'ok', message, remedy: null };
  const consequence = `The durable Redis at ${place} is nearly full: ${message} A full one takes no jobs, and deliveries wait for sweep.`;
  return { check, status: 'warning', message: consequence, remedy: 'Raise its maxmemory, or run more workers.' };
}

function unknownFinding(check: string, place: string, what: string, remedy: string): Finding {
  return { check, status: 'unknown', message: `The Redis at ${place} does not let ${what} be asked for.`, remedy };
}

function isAtLeast(version: string, min: string): boolean {
  const parts = version.split('.').map((part) => Number.parseInt(part, 10));
  const [first, second, third] = min.split('.').map(Number);
  for (const [index, wanted] of [first, second, third].entries()) {
    const difference = (parts[index] ?? 0) - (wanted ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}
