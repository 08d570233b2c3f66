// What a page has to load: the whole package, minified and compressed.

import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { expect, test } from 'vitest';

/** Bytes: the bound of the project. */
const MOST = 20 * 1024;

async function bundle(
  entry: string,
  platform: 'browser' | 'node',
  external: string[] = [],
): Promise<Uint8Array> {
  const { outputFiles } = await build({
    entryPoints: [new URL(`../../src/${entry}`, import.meta.url).pathname],
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: 'es2022',
    platform,
    external,
    logLevel: 'error',
  });
  return (outputFiles[0] as { contents: Uint8Array }).contents;
}

test.each<[string, 'browser' | 'node', string[]]>([
  ['index.ts', 'browser', []],
  ['node.ts', 'node', []],
  ['react.ts', 'browser', ['react']],
])('%s has at most 20 KB, minified and compressed', async (entry, platform, external) => {
  const size = gzipSync(await bundle(entry, platform, external), { level: 9 }).length;
  expect(size, `${entry} has ${size} bytes`).toBeLessThanOrEqual(MOST);
});

test('a page gets nothing of Node, and no dependency', async () => {
  const text = new TextDecoder().decode(await bundle('index.ts', 'browser'));
  // Without the text in a message: a test that fails is to be read.
  expect(/from\s*"|\brequire\(|node:/.exec(text)).toBeNull();
});
