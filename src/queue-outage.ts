import { isConnectionCode, someCause } from './server-trouble.ts';
import type { Outage } from './outage.ts';
import type { DeliveryQueue } from './queue.ts';

/** The queue is known to be away: the call was not made, or failed by it. Its jobs are found by sweep. */
export class QueueAwayError extends Error {}

// What ioredis and our own limits say of a server that is not there, and a server of itself while it is of no use.
const texts =
  /connection is closed|stream isn't writeable|max retries per request|did not answer within|command timed out|socket timeout|calls already wait|^(?:LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|ERR max number of clients)/i;

/** Whether a failure says that a Redis is away: down, starting, silent, or no primary any more. */
export function isRedisAway(error: unknown): boolean {
  return someCause(
    error,
    ({ error: cause, code, message }) =>
      cause instanceof QueueAwayError || texts.test(message) || isConnectionCode(code),
  );
}

/**
 * The queue, whose calls throw a QueueAwayError at once while it is known to be away: whoever enqueues has stored what is
 * due, and must not wait for a hint at it. `ping` always asks.
 */
export function failFast(queue: DeliveryQueue, outage: Outage): DeliveryQueue {
  const guard = async <Value>(call: () => Promise<Value>): Promise<Value> => {
    if (outage.isOn) throw countedFailure(outage, new QueueAwayError('the queue is away'));
    try {
      return await call();
    } catch (error) {
      if (!outage.failed(error)) throw error;
      // Not as its cause: what broke there must not be taken for the database's.
      throw new QueueAwayError(`the queue is away: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  return {
    enqueue: async (...args) => await guard(async () => await queue.enqueue(...args)),
    countReady: async () => await guard(async () => await queue.countReady()),
    countJobs: async () => await guard(async () => await queue.countJobs()),
    ping: async () => await queue.ping(),
    [Symbol.asyncDispose]: async () => await queue[Symbol.asyncDispose](),
  };
}

function countedFailure(outage: Outage, error: QueueAwayError): QueueAwayError {
  outage.failed(error);
  return error;
}
