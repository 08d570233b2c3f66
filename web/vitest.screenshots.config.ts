// `npm run screenshots -w web`: pictures of every page, into web/screenshots (not committed).
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The client's sources, as the pages have them.
  ssr: { resolve: { conditions: ['source', 'node', 'module', 'import'] } },
  test: {
    include: ['e2e/screenshots.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    fileParallelism: false,
  },
});
