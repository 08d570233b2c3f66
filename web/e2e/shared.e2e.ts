// One connection for all tabs, in a real SharedWorker. The pages are the test's own, from an origin of their own: those of
// the server use a connection each.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, expect, test } from 'vitest';
import type { Log, TabWindow } from './shared/page.ts';
import { type Account, World } from './support/world.ts';

/** The test's page and its worker, each one script, as an application would build them. */
async function built(): Promise<Map<string, string>> {
  const file = (name: string) => fileURLToPath(new URL(`./shared/${name}.ts`, import.meta.url));
  const made = await build({
    configFile: false,
    logLevel: 'silent',
    resolve: { conditions: ['source', 'module', 'browser', 'production'] },
    build: {
      write: false,
      minify: false,
      rolldownOptions: {
        input: { page: file('page'), worker: file('worker') },
        output: { entryFileNames: '[name].js', chunkFileNames: '[name].js' },
        preserveEntrySignatures: false,
      },
    },
  });
  const { output } = made as Extract<typeof made, { output: unknown }>;
  return new Map(output.flatMap(part => (part.type === 'chunk' ? [[`/${part.fileName}`, part.code]] : [])));
}

const scripts = await built();
const pages = createServer(({ url = '' }, response) => {
  const script = scripts.get(url);
  response.setHeader('content-type', script === undefined ? 'text/html' : 'text/javascript');
  response.end(script ?? '<!doctype html><title>Tab</title><script type="module" src="/page.js"></script>');
});
await new Promise<void>(resolve => pages.listen(0, '127.0.0.1', resolve));
afterAll(() => pages.close());
const origin = `http://127.0.0.1:${(pages.address() as AddressInfo).port}`;

const world = new World(['limits.enabled=false', `http.cors_origins=${origin}`]);

declare const window: TabWindow;

/** Connections of a device, as the operators see them. */
async function connections(device: string): Promise<number> {
  const told = await fetch(`${world.server.adminUrl}/api/connections?search=${device}`);
  return ((await told.json()) as { matching: number }).matching;
}

/** Another tab, in this session. */
async function join(page: Page, { token }: Account, device: string, session?: string): Promise<string> {
  await page.goto(origin);
  return page.evaluate(
    async ({ url, token, device, session }) => {
      window.join({ url, token, device });
      const { client } = window.tab;
      const entered = session === undefined ? client.create<Log>({ log: [] }) : client.session<Log>(session);
      window.tab.session = entered;
      await entered.ready();
      return entered.id;
    },
    { url: world.server.url, token, device, session },
  );
}

/** Writes so many lines, each built on what the tab shows. */
function write(page: Page, by: string, lines: number): Promise<void> {
  return page.evaluate(
    async ({ by, lines }) => {
      const { session } = window.tab;
      const updates = Array.from({ length: lines }, (_, at) =>
        session?.update(draft => void draft.log.push(`${by} ${at}`)),
      );
      await Promise.all(updates.map(update => update?.durable));
    },
    { by, lines },
  );
}

const shown = (page: Page) =>
  page.evaluate(() => ({
    log: window.tab.session?.state?.log ?? [],
    version: window.tab.session?.version,
    pending: window.tab.session?.pending,
  }));

test('two tabs share one connection, which stays when the first of them goes and ends with the last', async () => {
  const account = await world.account();
  const device = `desk-${crypto.randomUUID()}`;
  const context = await world.browser.newContext();
  const [one, two] = [await context.newPage(), await context.newPage()];
  const session = await join(one, account, device);
  expect(await join(two, account, device, session)).toBe(session);
  expect(await connections(device)).toBe(1);

  await Promise.all([write(one, 'one', 20), write(two, 'two', 20)]);
  const both = async () => {
    const [here, there] = [await shown(one), await shown(two)];
    return { same: JSON.stringify(here) === JSON.stringify(there), lines: new Set(here.log).size };
  };
  await expect.poll(both, { timeout: 20_000 }).toEqual({ same: true, lines: 40 });
  expect((await shown(one)).log).toHaveLength(40);
  expect(await connections(device)).toBe(1);

  await one.close();
  await write(two, 'alone', 1);
  expect((await shown(two)).log.at(-1)).toBe('alone 0');

  await world.server.killed(async () => {});
  await write(two, 'after', 1);
  await expect.poll(() => shown(two)).toMatchObject({ version: 43, pending: 0 });
  expect(await connections(device)).toBe(1);

  await two.close();
  await expect.poll(() => connections(device), { timeout: 20_000 }).toBe(0);
  await context.close();
});
