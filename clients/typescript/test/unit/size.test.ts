// What a page has to load: the whole package as vite bundles it, minified and compressed.

import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { rolldown } from 'rolldown';
import { expect, test } from 'vitest';

/** Bytes: the bound of the project. */
const MOST = 20 * 1024;

/** The chunks of an entry: the first is what is loaded at once, the others come when they are asked for. */
async function bundle(entry: string): Promise<{ code: string; size: number }[]> {
  const input = fileURLToPath(new URL(`../../src/${entry}`, import.meta.url));
  const bundled = await rolldown({ input, external: [/^node:/, 'react'], logLevel: 'silent' });
  const { output } = await bundled.generate({ format: 'esm', minify: true, comments: false });
  return output.map(chunk => {
    const code = 'code' in chunk ? chunk.code : '';
    return { code, size: gzipSync(code, { level: 9 }).length };
  });
}

test.each(['react.ts', 'service.ts', 'store/indexeddb.ts'])(
  '%s has at most 20 KB, minified and compressed',
  async entry => {
    const sizes = (await bundle(entry)).map(({ size }) => size);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThanOrEqual(MOST);
  },
);

test('a page loads at most 20 KB, minified and compressed, and WebTransport only where there is one', async () => {
  // As one file, with the code for WebTransport beside it.
  const input = fileURLToPath(new URL('../../src/index.ts', import.meta.url));
  const bundled = await rolldown({ input, external: [/transport\/auto\.ts$/], logLevel: 'silent' });
  const { output } = await bundled.generate({ format: 'esm', minify: true, comments: false });
  expect(output).toHaveLength(1);
  const size = gzipSync(output[0].code, { level: 9 }).length;
  expect(size).toBeLessThanOrEqual(MOST);
  // A test that bounds nothing would pass as well.
  expect(size).toBeGreaterThan(MOST / 2);
});

test('a page gets nothing of Node, and no dependency', async () => {
  const input = fileURLToPath(new URL('../../src/index.ts', import.meta.url));
  const bundled = await rolldown({
    input,
    external: (id, importer) => importer !== undefined && !/^[./]/.test(id),
    logLevel: 'silent',
  });
  const { output } = await bundled.generate({ format: 'esm' });
  const names = output.map(({ fileName }) => fileName);
  for (const chunk of output) {
    if (chunk.type !== 'chunk') continue;
    for (const imported of [...chunk.imports, ...chunk.dynamicImports]) expect(names).toContain(imported);
  }
});
