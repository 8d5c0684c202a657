import { describe, expect, test, vi } from 'vitest';
import { Outage } from '../../src/outage.ts';
import { failFast, isRedisAway, QueueAwayError } from '../../src/queue-outage.ts';
import type { DeliveryQueue } from '../../src/queue.ts';

class AwayError extends Error {}
const never = new AbortController().signal;

/** An outage of a server that the test takes away and brings back. */
function startOutage() {
  const told: string[] = [];
  const server = { isAway: true, probeCount: 0 };
  const outage = new Outage({
    isAway: (error) => error instanceof AwayError || error instanceof QueueAwayError,
    probe: async () => {
      server.probeCount += 1;
      if (server.isAway) throw new AwayError('away');
    },
    onBegin: () => void told.push('begin'),
    onEnd: ({ failureCount }) => void told.push(`end after ${failureCount}`),
  });
  return { outage, server, told };
}

describe('an outage', () => {
  test('is told with what it failed, and one probe asks for all', async () => {
    const { outage, server, told } = startOutage();
    for (let count = 0; count < 100; count += 1) expect(outage.failed(new AwayError('away'))).toBe(true);
    expect([server.probeCount, outage.isOn, outage.isConfirmed]).toEqual([1, true, false]);
    await vi.waitFor(() => expect(outage.isConfirmed).toBe(true));
    server.isAway = false;
    await outage.over(never);
    expect([outage.isOn, outage.isConfirmed, outage.wasOnWithin(60_000)]).toEqual([false, false, true]);
    expect(told).toEqual(['begin', 'end after 100']);
  });

  test('is none for an error of another kind', () => {
    const { outage, server } = startOutage();
    expect(outage.failed(new Error('refused'))).toBe(false);
    expect([outage.isOn, server.probeCount]).toEqual([false, 0]);
  });

  test('is waited for no longer than the signal allows', async () => {
    using outage = startOutage().outage;
    outage.failed(new AwayError('away'));
    const stop = new AbortController();
    const waiting = outage.over(stop.signal);
    stop.abort(new Error('stopping'));
    await expect(waiting).rejects.toThrow('stopping');
    await expect(outage.survive(async () => 'done', stop.signal)).rejects.toThrow('stopping');
  });
});

describe('work that survives an outage', () => {
  test('is done again until it succeeds', async () => {
    const { outage, server } = startOutage();
    let tryCount = 0;
    const result = await outage.survive(async () => {
      tryCount += 1;
      server.isAway = tryCount === 1;
      setImmediate(() => (server.isAway = false)); // after the first probe
      if (tryCount < 3) throw new AwayError('away');
      return tryCount;
    }, never);
    expect(result).toBe(3);
  });

  test('fails with what is no outage, and is not done again', async () => {
    const { outage } = startOutage();
    let tryCount = 0;
    const work = async (): Promise<never> => {
      tryCount += 1;
      throw new Error('refused');
    };
    await expect(outage.survive(work, never)).rejects.toThrow('refused');
    expect(tryCount).toBe(1);
  });
});

describe('a queue that fails fast', () => {
  test('is asked once when it is away, and then not until its probe has been answered', async () => {
    const { outage, server } = startOutage();
    let callCount = 0;
    const call = async (): Promise<number> => {
      callCount += 1;
      if (server.isAway) throw new AwayError('away');
      return 0;
    };
    const queue: DeliveryQueue = {
      enqueue: async () => void (await call()),
      countReady: call,
      countJobs: async () => ({ waiting: await call(), active: 0, delayed: 0 }),
      ping: async () => void (await call()),
      [Symbol.asyncDispose]: async () => {},
    };
    const fast = failFast(queue, outage);
    for (let count = 0; count < 10; count += 1) await expect(fast.enqueue([])).rejects.toBeInstanceOf(QueueAwayError);
    await expect(fast.countReady()).rejects.toBeInstanceOf(QueueAwayError);
    expect(callCount).toBe(1);
    server.isAway = false;
    await outage.over(never);
    await fast.enqueue([]);
    expect(callCount).toBe(2);
  });
});

test.each([
  ['a refused connection', Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }), true],
  ['a silent server', new Error('the queue did not answer within 2000 ms'), true],
  ['a command without an answer', new Error('Command timed out'), true],
  ['a server that loads its data', new Error('LOADING Redis is loading the dataset in memory'), true],
  ['a replica', new Error("READONLY You can't write against a read only replica."), true],
  ['what only wraps one', new Error('the schedules', { cause: new Error('Connection is closed.') }), true],
  ['a job that cannot be read', new Error('job 1 carries no deliveries'), false],
  ['a wrong type', new Error('WRONGTYPE Operation against a key holding the wrong kind of value'), false],
])('%s: whether a Redis is away', (_name, error, isAway) => {
  expect(isRedisAway(error)).toBe(isAway);
});
