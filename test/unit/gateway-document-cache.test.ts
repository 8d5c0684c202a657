import { parse } from 'graphql';
import { expect, test } from 'vitest';
import { createDocumentCache } from '../../src/gateway/document-cache.ts';

const document = parse('{ a }');

test('documents are kept up to so many characters in all, those used last the longest', () => {
  const cache = createDocumentCache(100);
  const texts = Array.from({ length: 10 }, (_, index) => `${index}`.repeat(10));
  for (const text of texts) cache.set(text, document);
  expect(texts.every((text) => cache.get(text) === document)).toBe(true);
  cache.get(texts[0] ?? '');
  cache.set('x'.repeat(10), document);
  expect(texts.filter((text) => cache.get(text) === undefined)).toEqual([texts[1]]);
});

test('a document longer than a tenth of that is not kept, and one kept twice counts once', () => {
  const cache = createDocumentCache(100);
  cache.set('x'.repeat(11), document);
  expect(cache.get('x'.repeat(11))).toBeUndefined();
  for (let round = 0; round < 50; round += 1) cache.set('short', document);
  const others = Array.from({ length: 9 }, (_, index) => `${index}`.repeat(10));
  for (const text of others) cache.set(text, document);
  expect(cache.get('short')).toBe(document);
});
