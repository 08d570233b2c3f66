// `npm run e2e -w web`: the pages in a real browser, against the real server. One file after the other: they share two
// processors with a browser and a server, and some of them measure.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The client's sources, as the pages have them.
  ssr: { resolve: { conditions: ['source', 'node', 'module', 'import'] } },
  test: { include: ['e2e/**/*.e2e.ts'], testTimeout: 60_000, hookTimeout: 60_000, fileParallelism: false },
});
