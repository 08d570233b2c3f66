// How the pages are built. What comes out is committed and goes into the server's binary, so the same sources must make
// the same files on every machine: nothing here may depend on the time, the folder or the environment.
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

const page = (name: string) => fileURLToPath(new URL(`${name}.html`, import.meta.url));

export default defineConfig({
  // The client's sources, so that it need not be built first.
  resolve: { conditions: ['source', 'module', 'browser', 'production'] },
  build: {
    target: 'es2022',
    // The content security policy lets no data: in but for images, and no script that is written into a page.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Whose work is in what is shipped.
    license: { fileName: 'licenses.txt' },
    rolldownOptions: {
      input: { index: page('index'), home: page('home'), handoff: page('handoff'), console: page('console') },
    },
  },
  server: {
    // `npm run dev` speaks to a server that runs beside it.
    proxy: {
      '/api': 'http://127.0.0.1:7400',
      '/ws': { target: 'ws://127.0.0.1:7400', ws: true },
    },
  },
});
