import { startDeliveryQueue } from '../queue.ts';
import type { Config } from '../config.ts';
import type { Finding } from '../finding.ts';
import type { QueueConnection } from '../queue.ts';

const check = 'queue';
/** Jobs ready above which workers are behind: each carries up to 50 deliveries. */
const readyJobsMax = 1_000;

/** Whether the queue answers, and how long it is. Its Redis, when it does not answer, has a finding of its own as well. */
export async function examineQueue({ redis }: Config, databaseUrl: string): Promise<Finding> {
  const connection: QueueConnection =
    redis === null ? { kind: 'postgres', url: databaseUrl } : { kind: 'redis', url: redis.durableUrl.reveal() };
  let connectionError: Error | null = null;
  try {
    await using queue = await startDeliveryQueue(connection, { onError: (error) => (connectionError ??= error) });
    return judgeQueue(await queue.countReady());
  } catch (error) {
    // What goes wrong on the connection fails the call as well, which then only says that it was given up.
    const reason = reasonOf(connectionError ?? error);
    const remedy = redis === null ? 'Run `posthorn migrate`.' : 'Start that Redis, or correct REDIS_URI_DURABLE.';
    return { check, status: 'failed', message: `The queue does not answer: ${reason.replace(/\.$/, '')}.`, remedy };
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function judgeQueue(readyCount: number): Finding {
  const message = `${readyCount} jobs are waiting or running.`;
  if (readyCount <= readyJobsMax) return { check, status: 'ok', message, remedy: null };
  return { check, status: 'warning', message, remedy: 'Run more workers, or see whether those that run are well.' };
}
