import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createAdmissionWorld, newWebhookId, settingsOf } from '../support/admission-world.ts';
import { answered, unanswered } from '../support/send-result.ts';
import type { WebhookId } from '../../src/domain/ids.ts';
import type { SendResult } from '../../src/domain/delivery.ts';
import type { AdmissionWorld } from '../support/admission-world.ts';

const timeout = unanswered('TIMEOUT');

const fails = async (): Promise<never> => {
  throw new Error('out of order');
};

/** Lets everything happen that needs no time to pass. */
const settle = async (): Promise<unknown> => await vi.advanceTimersByTimeAsync(0);

const idsUnderWay = (world: AdmissionWorld): string[] => world.underWay.map(({ id }) => id);

/** Ends the attempts that are under way one by one, each with this result. */
async function endAll(world: AdmissionWorld, result: SendResult = answered(200)): Promise<void> {
  for (const attempt of world.underWay) {
    attempt.end(result);
    await settle();
  }
}

/** Ends attempts until nothing is under way any more. */
async function drain(world: AdmissionWorld): Promise<void> {
  for (let round = 0; world.underWay.length > 0 && round < 1_000; round += 1) await endAll(world);
}

/** Opens the webhook's circuit by five attempts without an answer. */
async function openCircuit(world: AdmissionWorld, webhookId: WebhookId): Promise<void> {
  await world.admit(world.add(webhookId, 5));
  for (const attempt of world.underWayOf(webhookId)) attempt.end(timeout);
  await settle();
  expect(world.circuitOf(webhookId)).toMatchObject({ openCount: 1 });
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe('room', () => {
  test('what a person waits for passes the others of its webhook, eight at a time', async () => {
    const world = createAdmissionWorld();
    const webhookId = newWebhookId();
    await world.admit(world.add(webhookId, 8));
    await world.admit(world.add(webhookId, 12), 'urgent');
    await settle();
    expect(world.underWay).toHaveLength(16);
    expect(world.countOf('held')).toBe(0);
  });

  test('a webhook has eight requests under way, sixteen waiting, and the rest parked, the newest', async () => {
    const world = createAdmissionWorld();
    const due = world.add(newWebhookId(), 40);
    expect(await world.admit(due)).toEqual([]);
    expect(idsUnderWay(world)).toEqual(due.slice(0, 8).map(({ id }) => id));
    expect(world.countOf('held')).toBe(16);
    expect(due.slice(24).every(({ id }) => world.places.get(id) === 'held')).toBe(true);
  });

  test('a lane that moves gets a moment before anything is parked, and one that hangs does not', async () => {
    const world = createAdmissionWorld({ patienceMs: 500 });
    const [moving, hanging] = [newWebhookId(), newWebhookId()];
    const due = [...world.add(moving, 60), ...world.add(hanging, 60)];
    const admitted = world.admit(due);
    for (let round = 0; round < 60; round += 1) {
      await vi.advanceTimersByTimeAsync(10);
      for (const each of world.underWayOf(moving)) each.end(answered(200));
    }
    await admitted;
    await settle();
    expect(world.countOf('held')).toBe(60 - 8 - 16);
    expect(world.underWayOf(hanging)).toHaveLength(8);
    expect(due.slice(0, 60).every(({ id }) => world.attemptCounts.get(id) === 1)).toBe(true);
  });

  test('a webhook that hangs keeps no other from its own eight', async () => {
    const world = createAdmissionWorld();
    const [hanging, healthy] = [newWebhookId(), newWebhookId()];
    await world.admit([...world.add(hanging, 50), ...world.add(healthy, 8)]);
    expect([world.underWayOf(hanging).length, world.underWayOf(healthy).length]).toEqual([8, 8]);
  });

  test('successes raise the cap of a busy webhook to its maximum and no further', async () => {
    const world = createAdmissionWorld({ webhookInFlightMax: 12 });
    await world.admit(world.add(newWebhookId(), 300));
    let most = 0;
    for (let round = 0; round < 5; round += 1) {
      await endAll(world);
      most = Math.max(most, world.underWay.length);
    }
    expect(most).toBe(12);
  });

  test('what is parked goes out oldest first as there is room, and what is new goes behind it', async () => {
    const world = createAdmissionWorld();
    const webhookId = newWebhookId();
    const first = world.add(webhookId, 60);
    await world.admit(first);
    const second = world.add(webhookId, 3);
    await world.admit(second);
    expect(second.every(({ id }) => world.places.get(id) === 'held')).toBe(true);
    await drain(world);
    expect([...world.attemptCounts]).toEqual([...first, ...second].map(({ id }) => [id, 1]));
  });

  test('there is room for so many in all, and a job waits until one of them leaves', async () => {
    const world = createAdmissionWorld({ inFlightMax: 10 });
    const due = Array.from({ length: 15 }, () => world.add(newWebhookId(), 1)).flat();
    const admitted = world.admit(due);
    await settle();
    expect(world.underWay).toHaveLength(10);
    world.underWay[0]?.end(answered(200));
    await settle();
    expect(world.underWay).toHaveLength(10);
    await drain(world);
    expect(await admitted).toEqual([]);
    expect(world.countOf('attempted')).toBe(15);
  });

  test('there is room for so many in all also when many webhooks take up what was parked', async () => {
    const world = createAdmissionWorld({ inFlightMax: 20 });
    for (let count = 0; count < 10; count += 1) world.add(newWebhookId(), 30, 'held');
    await world.admit(world.release(), 'released');
    await settle();
    let most = 0;
    for (let round = 0; world.underWay.length > 0 && round < 1_000; round += 1) {
      most = Math.max(most, world.underWay.length, world.admission.inFlightCount);
      world.underWay[0]?.end(answered(200));
      await settle();
    }
    expect(world.countOf('attempted')).toBe(300);
    expect(most).toBeLessThanOrEqual(20);
  });

  test('an attempt that is not recorded yet holds its place in all, and none of its webhook', async () => {
    const world = createAdmissionWorld({ inFlightMax: 8 });
    const admitted = world.admit(world.add(newWebhookId(), 20));
    await settle();
    const recording = Promise.withResolvers<void>();
    for (const attempt of world.underWay.slice(0, 3)) attempt.end(answered(200), { recording: recording.promise });
    await settle();
    expect([world.underWay.length, world.admission.inFlightCount]).toEqual([5, 8]);
    recording.resolve();
    await settle();
    expect([world.underWay.length, world.admission.inFlightCount]).toEqual([8, 8]);
    await drain(world);
    await admitted;
  });

  test('an urgent delivery starts at once, whatever its webhook and all others have under way', async () => {
    const world = createAdmissionWorld({ inFlightMax: 4 });
    const webhookId = newWebhookId();
    const admitted = world.admit(world.add(webhookId, 20));
    const [urgent] = world.add(webhookId, 1);
    await world.admit(urgent === undefined ? [] : [urgent], 'urgent');
    expect(idsUnderWay(world)).toContain(urgent?.id);
    await drain(world);
    await admitted;
  });

  test('hints that are doubled make one attempt', async () => {
    const world = createAdmissionWorld();
    const due = world.add(newWebhookId(), 30);
    await world.admit([...due, ...due]);
    await world.admit(due);
    await drain(world);
    expect(new Set(world.attemptCounts.values())).toEqual(new Set([1]));
    expect(world.attemptCounts.size).toBe(30);
  });

  test('doubled hints that wait for a place together are one attempt, which counts', async () => {
    const world = createAdmissionWorld({ inFlightMax: 2 });
    const webhookId = newWebhookId();
    await world.admit([...world.add(newWebhookId(), 1), ...world.add(newWebhookId(), 1)]);
    const due = world.add(webhookId, 1);
    const admitted = Promise.all([world.admit(due), world.admit(due)]);
    await settle();
    for (const attempt of world.underWay) attempt.end(answered(200));
    await admitted;
    await settle();
    expect([world.calls.attempt, world.underWay.length, world.admission.inFlightCount]).toEqual([3, 1, 1]);
  });

  test('what is parked while parked ones are being taken is not forgotten', async () => {
    let latencyMs = 0;
    const world = createAdmissionWorld({ latencyMs: () => latencyMs });
    const webhookId = newWebhookId();
    await world.admit(world.add(webhookId, 30));
    latencyMs = 100;
    for (const attempt of world.underWay) attempt.end(answered(200));
    await vi.advanceTimersByTimeAsync(150); // they are taken, which the answer on its way says
    latencyMs = 0;
    await world.admit(world.add(webhookId, 40));
    const heldCount = world.countOf('held');
    expect(heldCount).toBeGreaterThan(0);
    await vi.advanceTimersByTimeAsync(100);
    await drain(world);
    expect(world.countOf('attempted')).toBe(70);
  });
});

describe('an open circuit', () => {
  test('parks what waits and what comes, tells the row why, and asks for no parked ones', async () => {
    const world = createAdmissionWorld();
    const webhookId = newWebhookId();
    await world.admit(world.add(webhookId, 40));
    for (const attempt of world.underWay.slice(0, 5)) attempt.end(timeout);
    await settle();
    expect([world.circuitOf(webhookId)?.openCount, world.calls.openCircuit]).toEqual([1, 1]);
    await world.admit(world.add(webhookId, 5));
    expect(world.countOf('due')).toBe(0);
    const takes = world.calls.takeParked;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(world.calls.takeParked).toBe(takes);
    expect(world.underWay).toHaveLength(3);
  });

  test('a probe that fails opens it for longer, one that succeeds closes it and everything goes out', async () => {
    const world = createAdmissionWorld();
    const webhookId = newWebhookId();
    await openCircuit(world, webhookId);
    await world.admit(world.add(webhookId, 20));
    expect([world.underWay.length, world.countOf('held')]).toEqual([0, 20]);
    await vi.advanceTimersByTimeAsync(5_000);
    await world.admit(world.release(), 'released');
    expect(world.underWay).toHaveLength(1);
    await endAll(world, answered(500));
    expect(world.circuitOf(webhookId)).toMatchObject({ openCount: 2 });
    await vi.advanceTimersByTimeAsync(5_000);
    expect(world.release()).toEqual([]);
    await vi.advanceTimersByTimeAsync(5_000);
    await world.admit(world.release(), 'released');
    await endAll(world);
    expect(world.circuitOf(webhookId)).toBeNull();
    await drain(world);
    expect(world.countOf('attempted')).toBe(25);
    expect(world.calls.closeCircuit).toBe(1);
  });

  test('an urgent attempt that succeeds closes it at once', async () => {
    const world = createAdmissionWorld();
    const webhookId = newWebhookId();
    await openCircuit(world, webhookId);
    world.add(webhookId, 10, 'held');
    await world.admit(world.add(webhookId, 1), 'urgent');
    await drain(world);
    expect(world.circuitOf(webhookId)).toBeNull();
    expect(world.countOf('attempted')).toBe(16);
  });

  test('a test that fails leaves a webhook as it is, one that succeeds closes its circuit', async () => {
    const world = createAdmissionWorld();
    const webhookId = newWebhookId();
    for (let count = 0; count < 40; count += 1) {
      await world.admit(world.add(webhookId, 1), 'urgent');
      world.underWay[0]?.end(timeout, { trigger: 'TEST' });
      await settle();
    }
    expect(world.calls.openCircuit).toBe(0);
    const failing = newWebhookId();
    await openCircuit(world, failing);
    await world.admit(world.add(failing, 1), 'urgent');
    world.underWay[0]?.end(answered(200), { trigger: 'TEST' });
    await settle();
    expect(world.circuitOf(failing)).toBeNull();
  });

  test('is seen to be closed by what a person released, however recently it was seen open', async () => {
    const circuit = { openUntilMs: performance.now() + 60_000, openCount: 5 };
    const recentSettings = () => settingsOf({ rateLimitPerSecond: null, circuit });
    const world = createAdmissionWorld({ ports: { recentSettings } });
    const webhookId = newWebhookId();
    world.add(webhookId, 1, 'held');
    await world.admit(world.add(webhookId, 1));
    expect([world.underWay.length, world.countOf('held')]).toEqual([0, 2]);
    await world.admit(world.release(), 'released');
    expect(world.underWay).toHaveLength(1);
  });

  test('parked ones that were being taken when it opened are parked again, and a probe goes through later', async () => {
    let latencyMs = 0;
    const world = createAdmissionWorld({ latencyMs: () => latencyMs });
    const webhookId = newWebhookId();
    await world.admit(world.add(webhookId, 40));
    latencyMs = 100;
    for (const attempt of world.underWay) attempt.end(answered(200));
    expect(world.calls.takeParked).toBe(1);
    await vi.advanceTimersByTimeAsync(150); // they are taken, and the answer that has them is on its way
    latencyMs = 0;
    expect(world.countOf('held')).toBeLessThan(16);
    for (const attempt of world.underWay.slice(0, 5)) attempt.end(timeout);
    await vi.advanceTimersByTimeAsync(1_000);
    await endAll(world, timeout);
    expect([world.underWay.length, world.countOf('due')]).toEqual([0, 0]);
    await vi.advanceTimersByTimeAsync(20_000);
    await world.admit(world.release(), 'released');
    await drain(world);
    expect(world.countOf('held')).toBe(0);
  });

  test('what waits here is parked when another worker has opened it', async () => {
    const world = createAdmissionWorld();
    const webhookId = newWebhookId();
    await world.admit(world.add(webhookId, 20));
    world.setWebhook(webhookId, { circuit: { openUntilMs: performance.now() + 5_000, openCount: 1 } });
    await world.admit(world.add(webhookId, 1));
    await settle();
    expect([world.countOf('held'), world.countOf('due')]).toEqual([13, 0]);
  });
});

describe('a rate', () => {
  test('is asked for by webhook, for no more than could start, and what it grants starts', async () => {
    const asked: [string, number, number][] = [];
    const rateLimit = {
      take: async (key: string, perSecond: number, wanted: number) => {
        asked.push([key, perSecond, wanted]);
        return { granted: 1, waitMs: 0 };
      },
      [Symbol.asyncDispose]: async () => {},
    };
    const world = createAdmissionWorld({ ports: { rateLimit } });
    const webhookId = newWebhookId();
    world.setWebhook(webhookId, { rateLimitPerSecond: 7 });
    await world.admit(world.add(webhookId, 3));
    await settle();
    expect(asked.map(([key, perSecond]) => [key, perSecond])).toEqual(Array.from({ length: 3 }, () => [webhookId, 7]));
    expect(Math.max(...asked.map(([, , wanted]) => wanted))).toBeLessThanOrEqual(3);
    expect(world.underWay).toHaveLength(3);
  });

  test('a refusal is not asked again before its wait is over', async () => {
    let takes = 0;
    const rateLimit = {
      take: async () => {
        takes += 1;
        return takes === 1 ? { granted: 0, waitMs: 400 } : { granted: 1, waitMs: 0 };
      },
      [Symbol.asyncDispose]: async () => {},
    };
    const world = createAdmissionWorld({ ports: { rateLimit } });
    const webhookId = newWebhookId();
    world.setWebhook(webhookId, { rateLimitPerSecond: 1 });
    await world.admit(world.add(webhookId, 1));
    await vi.advanceTimersByTimeAsync(399);
    expect([takes, world.underWay.length]).toEqual([1, 0]);
    await vi.advanceTimersByTimeAsync(1);
    expect([takes, world.underWay.length]).toEqual([2, 1]);
  });

  test('holds also when the webhook was quiet between two deliveries', async () => {
    const rateLimit = {
      take: async () => ({ granted: 0, waitMs: 60_000 }),
      [Symbol.asyncDispose]: async () => {},
    };
    const world = createAdmissionWorld({ ports: { rateLimit }, inFlightMax: 1 });
    const webhookId = newWebhookId();
    world.setWebhook(webhookId, { rateLimitPerSecond: 1 });
    await world.admit(world.add(webhookId, 1), 'urgent');
    const next = world.add(webhookId, 1);
    const admitted = world.admit(next); // its settings are seen, and it waits for a place in all
    await settle();
    await endAll(world);
    await admitted;
    await settle();
    expect(next.map(({ id }) => world.attemptCounts.has(id))).toEqual([false]);
  });
});

describe('a stop', () => {
  test('gives back what waits and what it is asked to take, and is idle when the last attempt has ended', async () => {
    const world = createAdmissionWorld({ inFlightMax: 10 });
    const [first, second] = [newWebhookId(), newWebhookId()];
    const due = world.add(first, 20);
    await world.admit(due);
    const job = world.add(second, 5);
    const admitted = world.admit(job);
    await settle();
    const waiting = world.admission.stop();
    expect(waiting).toEqual(due.slice(8));
    expect(await admitted).toEqual(job.slice(2));
    const late = world.add(first, 2);
    expect([await world.admit(late), await world.admit(late, 'urgent')]).toEqual([late, late]);
    const idle = vi.fn();
    void world.admission.idle().then(idle);
    await endAll(world);
    expect(idle).toHaveBeenCalledOnce();
    expect(world.attemptCounts.size).toBe(10);
  });

  test('parks again what was being taken from the parked ones', async () => {
    let latencyMs = 0;
    const world = createAdmissionWorld({ latencyMs: () => latencyMs });
    await world.admit(world.add(newWebhookId(), 40));
    latencyMs = 100;
    for (const attempt of world.underWay) attempt.end(answered(200));
    const back = world.admission.stop();
    await vi.advanceTimersByTimeAsync(1_000);
    await endAll(world);
    const idle = vi.fn();
    void world.admission.idle().then(idle);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(idle).toHaveBeenCalledOnce();
    expect(world.countOf('due')).toBe(back.length);
  });
});

describe('ports that fail', () => {
  test('settings that cannot be read keep nothing from being sent', async () => {
    const world = createAdmissionWorld({ ports: { recentSettings: fails, reloadSettings: fails } });
    await world.admit(world.add(newWebhookId(), 20));
    await drain(world);
    expect(world.countOf('attempted')).toBe(20);
  });

  test('a delivery that cannot be parked is left due, for sweep, and said', async () => {
    const world = createAdmissionWorld({ ports: { park: fails } });
    expect(await world.admit(world.add(newWebhookId(), 30))).toEqual([]);
    expect(world.errors).toEqual(Array(6).fill('a delivery was not parked; sweep will find it'));
    await drain(world);
    expect([world.countOf('attempted'), world.countOf('due')]).toEqual([24, 6]);
  });

  test('parked ones that cannot be taken are asked for once, and again when one is released', async () => {
    let takes = 0;
    const takeParked = async (): Promise<never> => {
      takes += 1;
      throw new Error('out of order');
    };
    const world = createAdmissionWorld({ ports: { takeParked } });
    await world.admit(world.add(newWebhookId(), 30));
    await drain(world);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([world.countOf('attempted'), world.countOf('held'), takes]).toEqual([24, 6, 1]);
    await world.admit(world.release(), 'released');
    await drain(world);
    expect([world.countOf('attempted'), world.countOf('held'), takes]).toEqual([25, 5, 2]);
  });

  test('a rate limit that fails is asked once a second', async () => {
    let takes = 0;
    const take = async (): Promise<never> => {
      takes += 1;
      throw new Error('out of order');
    };
    const world = createAdmissionWorld({ ports: { rateLimit: { take, [Symbol.asyncDispose]: async () => {} } } });
    const webhookId = newWebhookId();
    world.setWebhook(webhookId, { rateLimitPerSecond: 100 });
    await world.admit(world.add(webhookId, 5));
    await vi.advanceTimersByTimeAsync(9_500);
    expect([takes, world.underWay.length]).toEqual([10, 0]);
    expect(world.admission.stop()).toHaveLength(5);
  });

  test('a circuit that cannot be written loses nothing, and is tried once for each attempt that fails', async () => {
    const world = createAdmissionWorld({ ports: { openCircuit: fails } });
    await world.admit(world.add(newWebhookId(), 40));
    for (let round = 0; world.underWay.length > 0 && round < 100; round += 1) await endAll(world, timeout);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(world.countOf('attempted') + world.countOf('held')).toBe(40);
    expect(world.errors.length).toBeLessThanOrEqual(world.countOf('attempted'));
    for (let sweep = 0; world.countOf('held') > 0 && sweep < 100; sweep += 1) {
      await vi.advanceTimersByTimeAsync(5_000);
      await world.admit(world.release(), 'released');
      await drain(world);
    }
    expect(world.countOf('attempted')).toBe(40);
  });

  test('an attempt that rejects frees its place', async () => {
    const world = createAdmissionWorld({ ports: { attempt: fails }, inFlightMax: 2 });
    await world.admit(world.add(newWebhookId(), 20));
    await settle();
    expect([world.admission.inFlightCount, world.errors.length]).toEqual([0, 20]);
    await world.admission.idle();
  });
});
