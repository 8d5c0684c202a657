import { Redis } from 'ioredis';
import { listProjectsWithLogs } from '../feed/redis-projects.ts';
import { connectToDatabase } from '../stack/connect.ts';
import { countMissingProjects } from '../store/missing-projects.ts';
import { within } from '../time-limit.ts';
import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';

const check = 'Redis of its own';
const readLimitMs = 5_000;

/**
 * Whether another deployment uses this Redis too: its feed then has projects that the database does not know. Nothing where no
 * Redis is used.
 */
export async function examineSharing({ redis }: Config, databaseUrl: string): Promise<Finding[]> {
  if (redis === null) return [];
  const client = new Redis(redis.volatileUrl.reveal(), { lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => undefined); // whoever waits for it is told
  try {
    await within(readLimitMs, 'it', client.connect());
    const projects = await within(readLimitMs, 'it', listProjectsWithLogs(client));
    const database = await connectToDatabase(databaseUrl);
    try {
      return [judgeSharing(projects.length, await countMissingProjects(database, projects))];
    } finally {
      await database.end();
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/\.$/, '') : String(error);
    const message = `It could not be found out whether another deployment uses this Redis: ${reason}.`;
    return [{ check, status: 'unknown', message, remedy: 'Give each deployment a Redis of its own.' }];
  } finally {
    client.disconnect();
  }
}

/** Judges by how many of the projects in the feed are not in the database. */
export function judgeSharing(foundCount: number, missingCount: number): Finding {
  if (missingCount === 0) {
    return { check, status: 'ok', message: 'The feed has no project that the database lacks.', remedy: null };
  }
  const message = `The feed has ${foundCount} projects, of which the database lacks ${missingCount}: another deployment uses this Redis too, or it is left from another database. Workers that share a queue take each other's jobs and drop them.`;
  const remedy =
    'Give each deployment a Redis of its own, or another number of a database behind both URLs, as in redis://host:6379/1.';
  return { check, status: 'warning', message, remedy };
}
