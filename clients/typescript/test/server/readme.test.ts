// Every example of the README, against the real server.

import 'fake-indexeddb/auto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect } from '../../src/node.ts';
import { register } from '../../src/service.ts';
import { Server } from './server.ts';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
/** Each example under its heading. */
function* examples(): Generator<[title: string, code: string]> {
  let title = 'the first';
  for (const [, heading, code] of README.matchAll(/^## (.*)$|^```js\n([\s\S]*?)^```$/gm)) {
    title = heading ?? title;
    if (code) yield [title, code];
  }
}

let server: Server;
let folder: string;
const given: Record<string, unknown> = {};

beforeAll(async () => {
  server = await Server.start();
  // Inside the package, so that it finds itself by its name.
  folder = mkdtempSync(new URL('../../.readme-', import.meta.url).pathname);
  const tokens = await register({ email: 'ann@example.com', password: 'correct horse' }, { url: server.url });
  const client = await connect({ url: server.url, tokens, device: 'desk' });
  const session = client.create({ title: 'Party', items: [] as unknown[] });
  await session.update(draft => void draft.items.push({ text: 'milk' })).durable;
  Object.assign(given, { url: server.url, tokens, sessionId: session.id });
  await client.close();
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await server.remove();
});

test.each([...examples()])('%s', { timeout: 30_000 }, async (title, code) => {
  const said: unknown[][] = [];
  (globalThis as { readme?: unknown }).readme = {
    ...given,
    console: { log: (...words: unknown[]) => said.push(words) },
  };
  const file = join(folder, `${title.replaceAll(/\W/g, '-')}.mjs`);
  const imports = code.match(/^import .*$/gm) ?? [];
  const rest = code.replaceAll(/^import .*$/gm, '');
  writeFileSync(
    file,
    `${imports.join('\n')}\nconst { url, tokens, sessionId, console } = globalThis.readme;\nexport const run = async () => {${rest}};`,
  );
  const { run } = (await import(/* @vite-ignore */ file)) as { run: () => Promise<void> };
  const loud = title === 'Reading' ? setTimeout(() => void speak(), 500) : undefined;
  await run();
  clearTimeout(loud);
  if (title === 'the first') expect(said).toContainEqual([1]);
});

/** Somebody else changes the session, for an example that waits for that. */
async function speak(): Promise<void> {
  const client = await connect({ ...(given as { url: string; tokens: never }), device: 'desk' });
  const session = client.session<{ title: string }>(given.sessionId as string);
  await session.ready();
  await session.update(draft => void (draft.title += '!')).durable;
  await client.close();
}

test('the example for React is what the hooks are', () => {
  const code = README.match(/^```jsx\n([\s\S]*?)^```$/m)?.[1] ?? '';
  const example = readFileSync(new URL('../../examples/todo.jsx', import.meta.url), 'utf8');
  expect(example).toContain(code);
});
