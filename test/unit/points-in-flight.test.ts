import { expect, test, vi } from 'vitest';
import { createPointsInFlight } from '../../src/gateway/points-in-flight.ts';

const limits = { pointsInFlightMax: 1_000, pointsWaitMs: 5_000 };
const refused = { extensions: { code: 'RATE_LIMITED' } };

test('an operation waits for what others hold, and then for its turn, the longest first', async () => {
  const hold = createPointsInFlight(limits);
  const first = await hold('one', 900);
  const turns: string[] = [];
  const second = hold('one', 600).then((held) => (turns.push('second'), held));
  const third = hold('one', 300).then((held) => (turns.push('third'), held));
  await Promise.resolve();
  expect(turns).toEqual([]);
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
  (await third)[Symbol.dispose]();
  expect(turns).toEqual(['second', 'third']);
});

test('small operations do not wait behind large ones, nor one project behind another', async () => {
  const hold = createPointsInFlight(limits);
  await hold('one', 1_000);
  await expect(hold('one', 250)).resolves.toBeDefined();
  await expect(hold('other', 1_000)).resolves.toBeDefined();
});

test('one that costs more than all may hold passes alone', async () => {
  const hold = createPointsInFlight(limits);
  const alone = await hold('one', 5_000);
  alone[Symbol.dispose]();
  await expect(hold('one', 5_000)).resolves.toBeDefined();
});

test('one whose turn does not come in time is refused, and leaves its place to the next', async () => {
  vi.useFakeTimers();
  try {
    const hold = createPointsInFlight(limits);
    const first = await hold('one', 1_000);
    const late = hold('one', 900);
    const outcome = late.then(
      () => null,
      (error: unknown) => error,
    );
    await vi.advanceTimersByTimeAsync(limits.pointsWaitMs);
    expect(await outcome).toMatchObject(refused);
    const next = hold('one', 300);
    first[Symbol.dispose]();
    await expect(next).resolves.toBeDefined();
  } finally {
    vi.useRealTimers();
  }
});

test('one whose turn does not come in time holds up nobody behind it for longer', async () => {
  vi.useFakeTimers();
  try {
    const hold = createPointsInFlight(limits);
    await hold('one', 600);
    const large = hold('one', 900).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(limits.pointsWaitMs - 1);
    const behind = hold('one', 300);
    await vi.advanceTimersByTimeAsync(1);
    expect(await large).toMatchObject(refused);
    await expect(behind).resolves.toBeDefined();
  } finally {
    vi.useRealTimers();
  }
});

test('no more than a thousand wait: the next is refused at once', async () => {
  const hold = createPointsInFlight(limits);
  await hold('one', 1_000);
  const waiting = Array.from({ length: 1_000 }, async () => await hold('one', 300).catch(() => null));
  await expect(hold('one', 300)).rejects.toMatchObject(refused);
  expect(waiting).toHaveLength(1_000);
});
