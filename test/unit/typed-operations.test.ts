import { createHash } from 'node:crypto';
import { glob, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { DocumentNode } from 'graphql';
import { expect, test } from 'vitest';
import * as generated from '../generated/graphql.ts';

const root = path.resolve(import.meta.dirname, '../..');

/** The end-to-end tests that send operations as text, each because text is what it is about. */
const rawOnPurpose: Record<string, string> = {
  'test/e2e/clock-steps.test.ts': 'the emits that it repeats by hand, whose status and headers it looks at',
  'test/e2e/faults.test.ts': 'the same',
  'test/e2e/gateway-abuse.test.ts': 'what no client of good will would send',
  'test/e2e/gateway-settings.test.ts': 'what a setting forbids',
  'test/e2e/graphiql.test.ts': 'a person types them into a page',
  'test/e2e/metrics.test.ts': 'they are counted by what they are, those that are none too',
  'test/e2e/readme-operations.test.ts': 'a reader copies them from the README',
  'test/e2e/tenancy.test.ts': 'one for every root field, with ids written into the text as any client may',
};

/** Text that begins like an operation: a keyword with its name or braces, or the short form of a query. */
const operationText = /[`'"]\s*(?:(?:query|mutation|subscription)\b[^`'"\n]*[{(]|\{\s*[a-zA-Z]+\s*[({])/;

test.each([
  ['a query by its short form', "client.ask('{ project { id } }')", true],
  ['a named mutation with variables', 'ask(`mutation Name($id: ID!) { x }`)', true],
  ['a subscription over lines', 'const document = `\n  subscription {\n cursor }`', true],
  ['a sentence that says mutation', "test('a mutation is refused', () => {", false],
  ['a typed document', 'client.run(ProjectDocument, { id: `${name}` })', false],
  ['JSON', `post('{"a": 1}')`, false],
])('%s is told by its text', (_what, source, isRaw) => {
  expect(operationText.test(source)).toBe(isRaw);
});

test('the end-to-end tests send typed documents, but for those whose subject is the text', async () => {
  const files = await Array.fromAsync(glob('test/{e2e/*,support/{e2e,crash,feed}-*}.ts', { cwd: root }));
  expect(files.length).toBeGreaterThan(15);
  const raw: string[] = [];
  for (const file of files) {
    if (operationText.test(await readFile(path.join(root, file), 'utf8'))) raw.push(file);
  }
  const known = Object.keys(rawOnPurpose);
  expect(raw.filter((file) => !known.includes(file))).toEqual([]);
});

test('persisted-documents.json has every typed document by the SHA-256 of its text', async () => {
  const file = path.join(root, 'test/generated/persisted-documents.json');
  const persisted = Object.entries(JSON.parse(await readFile(file, 'utf8')) as Record<string, string>);
  const documents = Object.values(generated).filter(isDocument);
  expect(documents.length).toBeGreaterThan(15);
  expect(new Set(documents.map(({ __meta__: { hash } }) => hash))).toEqual(new Set(persisted.map(([hash]) => hash)));
  for (const [hash, text] of persisted) {
    expect(hash).toBe(`sha256:${createHash('sha256').update(text).digest('hex')}`);
  }
});

function isDocument(value: unknown): value is DocumentNode & { __meta__: { hash: string } } {
  return typeof value === 'object' && value !== null && '__meta__' in value;
}
