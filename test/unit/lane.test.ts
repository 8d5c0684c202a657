import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { idFromUuid } from '../../src/domain/ids.ts';
import { Lane, type CircuitStep, type Started } from '../../worker/lane.ts';
import { dispatchTo } from '../support/dispatch.ts';
import { answered, unanswered } from '../support/send-result.ts';
import type { DeliveryId } from '../../src/domain/ids.ts';
import type { OpenCircuit, WebhookSettings } from '../../src/store/webhook-settings.ts';

const dispatch = dispatchTo('http://127.0.0.1:9/');

const newId = (): DeliveryId => idFromUuid('delivery', randomUUID());
const newLane = (capMax = 64): Lane => new Lane(idFromUuid('webhook', randomUUID()), capMax);

function settings(changes: { rateLimitPerSecond?: number; circuit?: OpenCircuit } = {}): WebhookSettings {
  const endpoint = { kind: 'unreadable', error: null } as const;
  const read = { version: '1', endpoint, readAtMs: 0, expiresAtMs: Number.POSITIVE_INFINITY };
  return { ...read, rateLimitPerSecond: null, circuit: null, ...changes };
}

/** Deliveries that come in; those that may start have started. */
function arrive(lane: Lane, count: number): { started: Started[]; waiting: DeliveryId[]; parked: DeliveryId[] } {
  const placed = { started: [] as Started[], waiting: [] as DeliveryId[], parked: [] as DeliveryId[] };
  for (const id of Array.from({ length: count }, newId)) {
    const verdict = lane.arrive(id, 'normal');
    if (verdict === 'start') placed.started.push(lane.start());
    else placed[verdict === 'wait' ? 'waiting' : 'parked'].push(id);
    if (verdict === 'full') lane.overflow();
  }
  return placed;
}

/** An attempt whose request is over. */
function end(lane: Lane, started: Started | undefined, result = answered(200)): CircuitStep | null {
  if (started === undefined) throw new Error('nothing has started');
  const step = lane.learn(started, dispatch, result);
  lane.sent(started);
  return step;
}

/** Fails five times without an answer and opens the circuit, as admission does. */
function fail(lane: Lane, openMs: number): void {
  for (let count = 0; count < 4; count += 1) expect(end(lane, lane.start(), unanswered('TIMEOUT'))).toBeNull();
  expect(end(lane, lane.start(), unanswered('TIMEOUT'))).toEqual({ kind: 'open', openCount: 1 });
  lane.open(1, openMs);
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('a lane with room', () => {
  test('is full when no place to wait is left, which is not yet a backlog', () => {
    const lane = newLane();
    const verdicts = Array.from({ length: 26 }, () => {
      const verdict = lane.arrive(newId(), 'normal');
      if (verdict === 'start') lane.start();
      return verdict;
    });
    expect(verdicts.slice(23)).toEqual(['wait', 'full', 'full']);
    expect(lane.hasBacklog).toBe(false);
  });

  test('says when one of its requests is over', async () => {
    const lane = newLane();
    const started = lane.start();
    const said: string[] = [];
    const sent = lane.someSent().then(() => said.push('sent'));
    lane.sent(started);
    await sent;
    expect(said).toEqual(['sent']);
  });

  test('lets eight pass that a person waits for', () => {
    const lane = newLane();
    const urgent = Array.from({ length: 8 }, () => lane.start(true));
    expect(lane.takesUrgent).toBe(false);
    lane.sent(urgent[0] ?? lane.start());
    expect(lane.takesUrgent).toBe(true);
  });

  test('a hint that is doubled waits once', () => {
    const lane = newLane();
    for (let count = 0; count < 8; count += 1) lane.start();
    const id = newId();
    expect([lane.arrive(id, 'normal'), lane.arrive(id, 'normal')]).toEqual(['wait', 'wait']);
    expect(lane.drain()).toEqual([id]);
  });

  test('lets eight start, keeps sixteen waiting, and parks what comes after', () => {
    const lane = newLane();
    const { started, waiting, parked } = arrive(lane, 40);
    expect([started.length, waiting.length, parked.length]).toEqual([8, 16, 16]);
    expect(lane.hasBacklog).toBe(true);
  });

  test('lets nothing start over a smaller maximum', () => {
    expect(arrive(newLane(2), 40).started).toHaveLength(2);
  });

  test('what waits starts in its order, one for one that is sent, and one more while successes raise the cap', () => {
    const lane = newLane();
    const { started, waiting } = arrive(lane, 20);
    expect(lane.next()).toBeNull();
    end(lane, started[0]); // the cap is 9 now, and 7 are in flight
    expect([lane.next(), (lane.start(), lane.next()), (lane.start(), lane.next())]).toEqual([
      waiting[0],
      waiting[1],
      null,
    ]);
  });

  test('a request that is over counts once, however often that is said', () => {
    const lane = newLane(1);
    const [first] = arrive(lane, 3).started;
    if (first !== undefined) for (let count = 0; count < 3; count += 1) lane.sent(first);
    expect(lane.next()).not.toBeNull();
    lane.start();
    expect(lane.next()).toBeNull();
  });

  test('a timeout halves what may be under way', () => {
    const lane = newLane();
    const { started } = arrive(lane, 20);
    end(lane, started[0], unanswered('TIMEOUT'));
    for (const each of started.slice(1, 4)) lane.sent(each);
    expect(lane.next()).toBeNull();
    for (const each of started.slice(4, 5)) lane.sent(each);
    expect(lane.next()).not.toBeNull();
  });

  test('is forgettable as long as it has nothing that a new one would not have', () => {
    const lane = newLane();
    expect(lane.isForgettable).toBe(true);
    const { started } = arrive(lane, 1);
    expect(lane.isForgettable).toBe(false);
    end(lane, started[0], answered(500));
    expect(lane.isForgettable).toBe(false);
    end(lane, lane.start());
    expect(lane.isForgettable).toBe(true);
    lane.see(settings({ rateLimitPerSecond: 1 }));
    expect(lane.isForgettable).toBe(false);
  });
});

describe('a lane with a backlog', () => {
  test('leaves half of its places to wait to what is parked', () => {
    const lane = newLane();
    lane.hasBacklog = true;
    const { started, waiting, parked } = arrive(lane, 40);
    expect([started.length, waiting.length, parked.length]).toEqual([8, 8, 24]);
    expect(lane.backlogWanted()).toBe(8);
  });

  test('lets a released one start, and takes it for a sign of more', () => {
    const lane = newLane();
    expect(lane.arrive(newId(), 'released')).toBe('start');
    expect([lane.hasBacklog, lane.backlogWanted()]).toEqual([true, 16]);
  });

  test('wants as much of it as it has places to wait, once half of them are free', () => {
    const lane = newLane();
    const { started, waiting } = arrive(lane, 40);
    expect(lane.backlogWanted()).toBe(0);
    for (const each of started) lane.sent(each);
    for (const id of waiting.slice(0, 8)) {
      expect(lane.next()).toBe(id);
      lane.start();
    }
    expect(lane.backlogWanted()).toBe(8);
    const taken = Array.from({ length: 8 }, newId);
    lane.wait(taken);
    expect(lane.backlogWanted()).toBe(0);
    expect(lane.drain()).toEqual([...waiting.slice(8), ...taken]);
  });

  test('wants none of it while its circuit is open', () => {
    const lane = newLane();
    fail(lane, 5_000);
    lane.hasBacklog = true;
    expect(lane.backlogWanted()).toBe(0);
  });
});

describe('a lane with an open circuit', () => {
  test('gives what was waiting, to be parked, and parks all that comes', () => {
    const lane = newLane();
    const { waiting } = arrive(lane, 12);
    expect(lane.open(1, 5_000)).toEqual(waiting);
    expect(arrive(lane, 10).parked).toHaveLength(10);
    expect(lane.arrive(newId(), 'released')).toBe('park');
    expect(lane.next()).toBeNull();
  });

  test('lets exactly one through when its wait is over, until that one is sent', () => {
    const lane = newLane();
    fail(lane, 5_000);
    vi.advanceTimersByTime(4_999);
    expect(arrive(lane, 2).started).toHaveLength(0);
    vi.advanceTimersByTime(1);
    const { started, parked } = arrive(lane, 5);
    expect([started.length, parked.length]).toEqual([1, 4]);
    expect(lane.arrive(newId(), 'released')).toBe('park');
  });

  test('stays open longer when its probe fails, and is normal again when that succeeds', () => {
    const lane = newLane();
    fail(lane, 5_000);
    vi.advanceTimersByTime(5_000);
    expect(end(lane, arrive(lane, 1).started[0], answered(500))).toEqual({ kind: 'open', openCount: 2 });
    lane.open(2, 10_000);
    vi.advanceTimersByTime(9_999);
    expect(arrive(lane, 1).started).toHaveLength(0);
    vi.advanceTimersByTime(1);
    expect(end(lane, arrive(lane, 1).started[0])).toEqual({ kind: 'close' });
    expect(arrive(lane, 3).started.length).toBeGreaterThan(0);
    expect(end(lane, lane.start(), answered(500))).toBeNull();
  });

  test('is not opened again by what was under way at the opening, but closed by its success', () => {
    const lane = newLane();
    const { started } = arrive(lane, 8);
    for (const each of started.slice(0, 4)) expect(end(lane, each, unanswered('TIMEOUT'))).toBeNull();
    expect(end(lane, started[4], unanswered('TIMEOUT'))).toEqual({ kind: 'open', openCount: 1 });
    lane.open(1, 5_000);
    vi.advanceTimersByTime(10_000);
    expect(end(lane, started[5], unanswered('TIMEOUT'))).toBeNull();
    expect(end(lane, started[6])).toEqual({ kind: 'close' });
  });

  test('is opened again by an attempt that a person asked for and that fails, and not by a test', () => {
    const lane = newLane();
    fail(lane, 5_000);
    vi.advanceTimersByTime(1);
    const [asked, test_] = [lane.start(), lane.start()];
    expect(lane.learn(test_, { ...dispatch, trigger: 'TEST' }, answered(500))).toBeNull();
    expect(lane.learn(asked, { ...dispatch, trigger: 'MANUAL' }, answered(500))).toEqual({
      kind: 'open',
      openCount: 2,
    });
  });

  test('is what the row says: opened and closed there, by whomever', () => {
    const lane = newLane();
    lane.see(settings({ circuit: { openUntilMs: performance.now() + 5_000, openCount: 3 } }));
    expect(arrive(lane, 1).parked).toHaveLength(1);
    vi.advanceTimersByTime(5_000);
    expect(end(lane, arrive(lane, 1).started[0], answered(500))).toEqual({ kind: 'open', openCount: 4 });
    lane.see(settings());
    expect(arrive(lane, 1).started).toHaveLength(1);
  });

  test('is what the lane knows while a change of it is being written', () => {
    const lane = newLane();
    fail(lane, 5_000);
    lane.circuitWrites = 1;
    lane.see(settings());
    expect(arrive(lane, 1).parked).toHaveLength(1);
  });

  test('gives up what waits when it is the row that says that it is open', () => {
    const lane = newLane();
    const { waiting } = arrive(lane, 12);
    expect(lane.shed()).toEqual([]);
    lane.see(settings({ circuit: { openUntilMs: performance.now() + 5_000, openCount: 1 } }));
    expect([lane.shed(), lane.shed()]).toEqual([waiting, []]);
  });
});

describe('a lane with a rate', () => {
  test('starts what it was granted and no more', () => {
    const lane = newLane();
    lane.see(settings({ rateLimitPerSecond: 5 }));
    const { started, waiting, parked } = arrive(lane, 20);
    expect([started.length, waiting.length, parked.length]).toEqual([0, 10, 10]);
    expect(lane.tokensWanted()).toEqual({ perSecond: 5, count: 8 });
    lane.grant(2);
    expect(lane.tokensWanted()).toBeNull();
    expect([lane.next(), lane.next(), lane.next()]).toEqual([waiting[0], waiting[1], null]);
    expect(lane.tokensWanted()).toEqual({ perSecond: 5, count: 8 });
  });

  test('asks for nothing without deliveries, without room, or while its circuit is open', () => {
    const lane = newLane(1);
    lane.see(settings({ rateLimitPerSecond: 5 }));
    expect(lane.tokensWanted()).toBeNull();
    arrive(lane, 2);
    expect(lane.tokensWanted()).toEqual({ perSecond: 5, count: 1 });
    const started = lane.start();
    expect(lane.tokensWanted()).toBeNull();
    lane.sent(started);
    lane.open(1, 5_000);
    expect(lane.tokensWanted()).toBeNull();
  });

  test('keeps no more waiting than two seconds of it, and always one', () => {
    const lane = newLane();
    lane.see(settings({ rateLimitPerSecond: 1 }));
    expect(arrive(lane, 20).waiting).toHaveLength(2);
  });
});
