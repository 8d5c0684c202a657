import { findId } from '../domain/ids.ts';
import type { Redis } from 'ioredis';
import type { ProjectId } from '../domain/ids.ts';

/** Keys that one call looks at, and calls at most: a large Redis is not read as a whole. */
const scanCount = 1_000;
const scansMax = 20;

/** Projects that have a log of the feed in this Redis, some of them when there are many. Rejects when it does not answer. */
export async function listProjectsWithLogs(redis: Redis, keyPrefix = 'posthorn:feed'): Promise<ProjectId[]> {
  const projects = new Set<ProjectId>();
  let cursor = '0';
  for (let scan = 0; scan < scansMax; scan += 1) {
    const [next, keys] = await redis.scan(cursor, 'MATCH', `${keyPrefix}:{*}:meta`, 'COUNT', scanCount);
    for (const key of keys) {
      const id = findId('project', /\{(.*)\}/.exec(key)?.[1] ?? '');
      if (id !== null) projects.add(id);
    }
    if (next === '0') break;
    cursor = next;
  }
  return [...projects];
}
