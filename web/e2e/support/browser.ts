// Debian's Chromium, driven by playwright-core, and a person with it: every page that one opens is watched for what no
// page may do.
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import type { AppState } from '../../src/app-state.ts';
import type { List } from '../../src/home/list.ts';

const CHROMIUM = process.env.SYNCBRIDGE_CHROMIUM ?? '/usr/bin/chromium';

const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // A camera that shows a test picture, and nobody to be asked for it.
  '--use-fake-device-for-media-stream',
  '--use-fake-ui-for-media-stream',
];

/** Where pages come from in place of the server, see {@link freshPages}. */
const FRESH = process.env.SYNCBRIDGE_PAGES;
/** A page that the test brings along comes from no address; it may speak to this machine all the same. */
const LOCAL = ['--disable-features=LocalNetworkAccessChecks'];

/** A browser. */
export function launch(): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM,
    args: [...FLAGS, ...(FRESH === undefined ? [] : LOCAL)],
  });
}

type ContextOptions = Parameters<Browser['newContext']>[0];

/** What a page holds, of a session that is a list. */
export interface Held extends AppState {
  readonly data: List;
}

/** The texts of a list, in its order. */
export function texts({ notes }: List): string[] {
  const ordered = Object.values(notes).sort((one, other) => one.order - other.order);
  return ordered.map(({ text }) => text);
}

/** A device: a browser context with one page, and everything that went wrong in it. */
export class Device {
  /** What no page may do, and did: it should be empty at the end. */
  readonly wrongs: string[] = [];

  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
  ) {}

  static async open(browser: Browser, url: string, options: ContextOptions = {}): Promise<Device> {
    const context = await browser.newContext({ baseURL: url, ...options });
    const base = options.baseURL ?? url;
    await freshPages(context, base, base === url ? 'index' : 'console');
    const page = await context.newPage();
    const device = new Device(context, page);
    const { origin } = new URL(base);
    context.on('request', request => {
      const asked = new URL(request.url());
      if (!['data:', 'blob:'].includes(asked.protocol) && asked.origin !== origin) {
        device.wrongs.push(`a request to a third party: ${request.url()}`);
      }
    });
    context.on('weberror', error =>
      device.wrongs.push(`an error that nobody caught: ${error.error().stack}`),
    );
    context.on('console', message => {
      if (/content security policy|trusted ?type/i.test(message.text())) device.wrongs.push(message.text());
    });
    return device;
  }

  /** From the next page on: a network in which only this comes through. */
  async only(transport: 'websocket' | 'webtransport'): Promise<void> {
    if (transport === 'websocket') {
      // What a firewall that drops UDP looks like: nothing is ever answered.
      await this.context.route('**/api/v1/webtransport', () => {});
    } else {
      await this.context.addInitScript(() => {
        const Real = WebSocket;
        window.WebSocket = class extends Real {
          constructor(url: string | URL, protocols?: string | string[]) {
            super(String(url).replace(/\/ws$/, '/no-websocket'), protocols);
          }
        };
      });
    }
  }

  /** Signs in by the form; ends at /home with the session on the screen. */
  async signIn(email: string, password: string): Promise<void> {
    await this.page.goto('/');
    await this.page.getByTestId('email').fill(email);
    await this.page.getByTestId('password').fill(password);
    await this.page.getByTestId('login-button').click();
    await this.page.waitForURL('**/home');
    await this.live();
  }

  /** Waits until the page is connected and has the session. */
  async live(): Promise<void> {
    await this.page.locator('[data-testid="connection"][data-phase="live"]').waitFor();
  }

  /** What the page holds. */
  state(): Promise<Held> {
    return this.page.evaluate(() => ({ ...window.appState })) as Promise<Held>;
  }

  /** Waits until what the page holds is like this. */
  async until(what: string, like: (state: Held) => boolean): Promise<void> {
    await expect
      .poll(async () => like(await this.state()), { message: what, timeout: 30_000, interval: 20 })
      .toBe(true);
  }

  /** Adds a note, as a person does. */
  async add(text: string): Promise<void> {
    await this.page.getByTestId('new-note').fill(text);
    await this.page.getByTestId('new-note').press('Enter');
  }

  /** The note with this text. */
  note(text: string) {
    return this.page.getByTestId('note').filter({ has: this.page.locator('.mirror', { hasText: text }) });
  }

  /** Shows a code for another device. */
  async code(): Promise<string> {
    await this.page.getByTestId('handoff-menu').click();
    await this.page.getByTestId('generate-handoff-code').click();
    return (await this.page.getByTestId('handoff-code').textContent())?.trim() ?? '';
  }

  async close(): Promise<void> {
    await this.context.close();
  }
}

/**
 * While one works on the pages: with SYNCBRIDGE_PAGES=web/dist they come from that folder, with the headers that the server
 * gives its own, so that the server need not be built for each change.
 */
async function freshPages(context: BrowserContext, url: string, root: string): Promise<void> {
  const folder = FRESH;
  if (folder === undefined) return;
  const headers = Object.fromEntries((await fetch(url)).headers);
  if (headers['content-security-policy'] === undefined) return; // Not the server's pages.
  for (const name of ['content-type', 'content-length', 'content-encoding', 'etag']) delete headers[name];
  const page = /^\/(?:home|handoff|favicon\.svg|assets\/[^/]+)?$/;
  await context.route(
    asked => page.test(asked.pathname),
    route => {
      const { pathname } = new URL(route.request().url());
      const file = pathname === '/' ? `/${root}.html` : /\./.test(pathname) ? pathname : `${pathname}.html`;
      return route.fulfill({ path: join(folder, file), headers });
    },
  );
}
