import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { describeSettings } from '../../src/config.ts';

test('the configuration table of the README has every setting, in order, with its default and meaning', async () => {
  const readme = await readFile(new URL('../../README.md', import.meta.url), 'utf8');
  const section = /<!-- settings:.*?-->(.*)<!-- \/settings -->/s.exec(readme)?.[1] ?? '';
  const lines = section.split('\n').filter((line) => line.startsWith('|'));
  const rows = lines.slice(2).map((line) =>
    line
      .split('|')
      .map((cell) => cell.trim())
      .slice(1, -1),
  );
  expect(rows).toEqual(describeSettings().map((setting) => [`\`${setting.name}\``, setting.default, setting.meaning]));
});
