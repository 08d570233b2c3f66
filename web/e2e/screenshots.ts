// Pictures of each page at phone and desktop size, in light and dark, to be looked at by a person.
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, test } from 'vitest';
import type { Device } from './support/browser.ts';
import { busy } from './support/load.ts';
import { operators } from './support/operators.ts';
import { World } from './support/world.ts';

const FOLDER = fileURLToPath(new URL('../screenshots/', import.meta.url));
const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } } as const;

/** Milliseconds after which the console's plots have something in them. */
const WATCHED = 30_000;

const { token, setting, forget } = await operators();
afterAll(forget);

// A heartbeat that is long enough for who stopped reading to be there until the last picture.
const world = new World(['limits.enabled=false', 'connection.heartbeat_ms=120000', setting]);
beforeAll(() => mkdir(FOLDER, { recursive: true }));

const KINDS = (['phone', 'desktop'] as const).flatMap(size =>
  (['light', 'dark'] as const).map(colorScheme => ({ size, colorScheme })),
);
type Kind = (typeof KINDS)[number];

const options = ({ size, colorScheme }: Kind) => ({
  viewport: SIZES[size],
  colorScheme,
  deviceScaleFactor: 1,
  isMobile: size === 'phone',
  hasTouch: size === 'phone',
});

async function picture({ page }: Device, name: string, { size, colorScheme }: Kind, whole = false) {
  await page.evaluate(() => document.fonts.ready);
  await page.screenshot({ path: `${FOLDER}${name}-${size}-${colorScheme}.png`, fullPage: whole });
}

for (const kind of KINDS) {
  const { size, colorScheme } = kind;
  test(`${size} ${colorScheme}`, async () => {
    const account = await world.account();
    const one = await world.device(options(kind));
    await one.page.goto('/');
    await one.page.getByTestId('login-button').waitFor();
    await one.page.waitForTimeout(2_600); // The drawing moves; its change has arrived by then.
    await picture(one, 'signin', kind);
    await one.page.getByTestId('switch-mode').click();
    await one.page.getByTestId('name').waitFor();
    await picture(one, 'register', kind);
    await one.page.goto('/handoff');
    await one.page.getByTestId('complete-handoff').click();
    await one.page.getByTestId('handoff-error').filter({ hasText: 'Type the code' }).waitFor();
    await picture(one, 'handoff', kind);

    await one.signIn(account.email, account.password);
    await picture(one, 'home-empty', kind);
    await one.page.getByTestId('list-title').fill('Weekend in Gent');
    for (const text of [
      'Book the night train',
      'Ask Mira about the keys, and whether the cat may stay with her until Monday evening',
      'Bread, milk, the good coffee',
      'Print the tickets',
      'Charge the camera',
    ]) {
      await one.add(text);
    }
    await one.note('Book the night train').getByTestId('note-done').check();
    const other = await world.signedIn(account);
    await other.note('Print the tickets').getByTestId('note-text').fill('Print the tickets, both ways');
    await other.note('Charge the camera').getByTestId('note-done').check();
    await other.note('Bread, milk').getByTestId('note-text').click();
    await other.page.keyboard.press('End');
    await other.page.keyboard.press('ArrowLeft');
    await one.page.getByTestId('cursor').waitFor();
    await one.note('Ask Mira').getByTestId('note-text').click();
    await picture(one, 'home', kind);
    await one.page.getByTestId('account').click();
    await one.page.getByTestId('own-devices').locator('li').first().waitFor();
    await one.page.waitForTimeout(400); // Until the dialog stands.
    await picture(one, 'account', kind);
    await one.page.keyboard.press('Escape');
    await one.code();
    await one.page.waitForTimeout(400);
    await picture(one, 'handoff-dialog', kind);
  });
}

test('the console of a server that is busy', async () => {
  const account = await world.account();
  const [person] = await Promise.all([world.signedIn(account)]);
  await person.add('Seen by the operators');
  const rest = await busy(world.server, account);
  try {
    const watching = await Promise.all(
      KINDS.map(async kind => {
        const device = await world.device({ ...options(kind), baseURL: world.server.adminUrl });
        await device.page.goto('/');
        return { kind, device };
      }),
    );
    await person.page.waitForTimeout(WATCHED);
    for (const { kind, device } of watching) await views(device, kind);
  } finally {
    await rest();
  }
}, 300_000);

/** Each place of the console, and what can be opened there. */
async function views(console: Device, kind: Kind): Promise<void> {
  const { page } = console;
  await page.bringToFront();
  const go = (place: string) => page.getByRole('link', { name: place, exact: true }).click();
  await picture(console, 'console-overview', kind, true);
  await go('Connections');
  await page.getByTestId('connections-table').getByText('a-laptop-that-was-closed').waitFor();
  await picture(console, 'console-connections', kind);
  await go('Sessions');
  await page.getByTestId('sessions-table').getByText('board-1', { exact: true }).waitFor();
  await picture(console, 'console-sessions', kind);
  await page.getByTestId('unlock').click();
  await page.getByTestId('token').fill(token);
  await picture(console, 'console-token', kind);
  await page.getByRole('button', { name: 'Use it' }).click();
  await page.getByTestId('drain').click();
  await picture(console, 'console-drain', kind);
  await page.getByRole('button', { name: 'Cancel' }).click();
  await go('Connections');
  await page.getByRole('searchbox').fill('board-2');
  await page.getByTestId('connections-table').getByRole('button', { name: 'Disconnect' }).first().waitFor();
  await page.getByTestId('connections-summary').filter({ hasText: 'found' }).waitFor();
  await picture(console, 'console-search', kind);
  await go('Profile');
  await picture(console, 'console-profile-empty', kind);
  await page.getByTestId('take-profile').click();
  await page.getByTestId('flame').waitFor();
  await picture(console, 'console-profile', kind, true);
}
