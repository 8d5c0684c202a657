import type { DocumentNode } from 'graphql';

/** Parsed documents by their text, as Yoga keeps them. */
export interface DocumentCache {
  get(text: string): DocumentNode | undefined;
  set(text: string, document: DocumentNode): void;
}

/**
 * Creates a cache of at most `charactersMax` characters of text in all, those used longest ago leaving first. It is
 * bounded by length and not by number: a thousand documents of the largest size would be gigabytes.
 */
export function createDocumentCache(charactersMax: number): DocumentCache {
  const documents = new Map<string, DocumentNode>();
  let characterCount = 0;
  return {
    get(text) {
      const document = documents.get(text);
      if (document === undefined) return undefined;
      documents.delete(text);
      documents.set(text, document);
      return document;
    },
    set(text, document) {
      if (documents.has(text) || text.length > charactersMax / 10) return;
      documents.set(text, document);
      characterCount += text.length;
      for (const oldest of documents.keys()) {
        if (characterCount <= charactersMax) return;
        documents.delete(oldest);
        characterCount -= oldest.length;
      }
    },
  };
}
