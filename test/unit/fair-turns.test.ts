import { expect, test } from 'vitest';
import { FairTurns, NoTurnError } from '../../src/fair-turns.ts';

const limits = { atOnceMax: 4, perKeyMax: 2, waitingMax: 10, waitMsMax: 60_000 };

/** Takes a turn for each key, and gives what has started so far and what ends one of them. */
function takeAll(turns: FairTurns, keys: readonly string[]) {
  const started: string[] = [];
  const ends: (() => void)[] = [];
  const all = keys.map(async (key) => {
    const end = await turns.take(key);
    started.push(key);
    ends.push(end);
  });
  return { started, all, endOne: () => ends.shift()?.() };
}

async function settled(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
}

test('a key that wants everything leaves half to others', async () => {
  const { started } = takeAll(new FairTurns(limits), ['a', 'a', 'a', 'a', 'b']);
  await settled();
  expect(started).toEqual(['a', 'a', 'b']);
});

test('keys take turns, however many of one wait', async () => {
  const turns = new FairTurns({ ...limits, atOnceMax: 1, perKeyMax: 1 });
  const { started, all, endOne } = takeAll(turns, ['a', 'a', 'a', 'a', 'b', 'b', 'c']);
  for (let count = 0; count < 7; count += 1) {
    await settled();
    expect(started).toHaveLength(count + 1);
    endOne();
  }
  await Promise.all(all);
  expect(started.join('')).toBe('aabcaba');
});

test('one that is one too many is refused, and one that has waited too long as well', async () => {
  const turns = new FairTurns({ atOnceMax: 1, perKeyMax: 1, waitingMax: 1, waitMsMax: 20 });
  const end = await turns.take('a');
  const waiting = turns.take('a');
  await expect(turns.take('a')).rejects.toThrow(NoTurnError);
  await expect(waiting).rejects.toThrow('no turn within 20 ms');
  end();
  expect(await turns.take('a')).toBeTypeOf('function');
});
