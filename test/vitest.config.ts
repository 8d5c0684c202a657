import { defineConfig } from 'vitest/config';

const root = new URL('..', import.meta.url).pathname;
const postgres = './test/support/setup-postgres.ts';

export default defineConfig({
  root,
  // As Node resolves: by `module` the tests would get a second graphql beside the one that the packages import.
  resolve: { alias: [{ find: /^graphql$/, replacement: `${root}node_modules/graphql/index.js` }] },
  test: {
    // A desk has two cores; more files at once only make each other's limits tight.
    maxWorkers: 2,
    pool: 'forks',
    projects: [
      {
        extends: true,
        test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 20_000 },
      },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup: [postgres],
          testTimeout: 20_000,
          hookTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup: [postgres],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
    ],
  },
});
