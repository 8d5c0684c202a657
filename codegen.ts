import type { CodegenConfig } from '@graphql-codegen/cli';

// Typed operations for the tests and the demo, from the printed schema: `graphql(...)` of the generated folder gives a
// document that knows its variables and its result. Beside them persisted-documents.json has the text of every operation
// by the SHA-256 of it, as a gateway with an allow-list takes it; a document carries its own as `__meta__.hash`.
// Neither folder is committed. A folder without operations is an error.

const output = {
  preset: 'client' as const,
  presetConfig: {
    fragmentMasking: false,
    persistedDocuments: { mode: 'embedHashInDocument' as const, hashAlgorithm: 'sha256' as const },
  },
  config: {
    useTypeImports: true,
    enumsAsTypes: true,
    importExtension: '.ts',
    scalars: { DateTime: 'string', JSON: 'unknown' },
  },
};

const config: CodegenConfig = {
  schema: 'schema/schema.graphql',
  generates: {
    'test/generated/': { ...output, documents: ['test/e2e/**/*.graphql', 'test/{e2e,support}/**/*.ts'] },
    'src/generated/': { ...output, documents: ['src/demo/**/*.ts'] },
  },
};

export default config;
