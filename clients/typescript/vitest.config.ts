import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The sources, not `dist`: a test sees what was changed.
  resolve: { conditions: ['source'] },
  ssr: { resolve: { conditions: ['source', 'node'] } },
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
  },
});
