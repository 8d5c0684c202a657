import { describe, expect, test } from 'vitest';
import { parseExposition } from '../support/exposition.ts';

const head = '# HELP a_total What it is.\n# TYPE a_total counter\n';

describe("the tests' reader of the exposition format", () => {
  test('reads families with their samples, labels unescaped no further', () => {
    const families = parseExposition(`${head}a_total{x="1, 2",y="\\"z\\\\"} 3\na_total 4.5e3\n`);
    expect([...families.values()]).toEqual([
      {
        name: 'a_total',
        help: 'What it is.',
        type: 'counter',
        samples: [
          { name: 'a_total', labels: { x: '1, 2', y: String.raw`\"z\\` }, value: 3 },
          { name: 'a_total', labels: {}, value: 4500 },
        ],
      },
    ]);
  });

  test.each([
    ['a sample of which no help and type stand before', 'a_total 1\n', 'no help and type stand before'],
    ['a sample of another family', `${head}b_total 1\n`, 'no help and type stand before'],
    ['a bucket of what is no histogram', `${head}a_total_bucket{le="1"} 1\n`, 'no help and type stand before'],
    ['a family without a type', '# HELP a_total What it is.\n', 'no type or no help'],
    ['a family without a help', '# TYPE a_total counter\na_total 1\n', 'no type or no help'],
    ['a family that comes twice', `${head}a_total 1\n${head}`, 'comes twice'],
    ['a sample that comes twice', `${head}a_total{x="1",y="2"} 1\na_total{y="2",x="1"} 1\n`, 'the sample comes twice'],
    ['a type that Posthorn has not', '# HELP a What.\n# TYPE a summary\na 1\n', 'nor a known type'],
    ['a value that is no number', `${head}a_total one\n`, 'not a number'],
    ['labels without quotes', `${head}a_total{x=1} 1\n`, 'labels cannot be read'],
    ['a last line without an end', `${head}a_total 1`, 'the last line has no end'],
  ])('refuses %s', (_what, text, message) => {
    expect(() => parseExposition(text)).toThrow(message);
  });
});
