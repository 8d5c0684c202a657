import type { CodegenConfig } from '@graphql-codegen/cli';

// Typed operations for the tests and the demo, from the printed schema: `graphql(...)` of the generated folder gives a
// document that knows its variables and its result. Neither folder is committed. A folder without operations is an error.

const output = {
  preset: 'client' as const,
  presetConfig: { fragmentMasking: false },
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
