import { expect, test } from 'vitest';
import { compileInTurn } from '../../src/json-schema/compile-in-turn.ts';

test('between two of the schemas that came at once everybody else has a turn', async () => {
  const seen: string[] = [];
  let goesOn = true;
  const others = (): void => {
    if (seen.at(-1) !== 'others') seen.push('others');
    if (goesOn) setImmediate(others);
  };
  setImmediate(others);
  await Promise.all(
    Array.from({ length: 6 }, async (_, index) => {
      const { kind } = await compileInTurn('project', { minimum: index });
      seen.push(kind);
    }),
  );
  goesOn = false;
  expect(seen.filter((what) => what === 'compiled')).toHaveLength(6);
  expect(seen.join(' ')).not.toContain('compiled compiled');
});
