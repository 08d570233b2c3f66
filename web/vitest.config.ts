// `npm test -w web`: what can be tested without a browser.
import { defineConfig } from 'vitest/config';

export default defineConfig({
  ssr: { resolve: { conditions: ['source', 'node', 'module', 'import'] } },
  test: { include: ['test/**/*.test.ts'] },
});
