// Pictures of each page at phone and desktop size, in light and dark, to be looked at by a person.
import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { beforeAll, test } from 'vitest';
import type { Device } from './support/browser.ts';
import { World } from './support/world.ts';

const FOLDER = fileURLToPath(new URL('../screenshots/', import.meta.url));
const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } } as const;

const world = new World(['limits.enabled=false']);
beforeAll(() => mkdir(FOLDER, { recursive: true }));

for (const size of ['phone', 'desktop'] as const) {
  for (const colorScheme of ['light', 'dark'] as const) {
    test(`${size} ${colorScheme}`, async () => {
      const options = {
        viewport: SIZES[size],
        colorScheme,
        deviceScaleFactor: 1,
        isMobile: size === 'phone',
        hasTouch: size === 'phone',
      };
      const account = await world.account();
      const picture = async (device: Device, name: string) => {
        await device.page.evaluate(() => document.fonts.ready);
        await device.page.screenshot({ path: `${FOLDER}${name}-${size}-${colorScheme}.png` });
      };
      const one = await world.device(options);
      await one.page.goto('/');
      await one.page.getByTestId('login-button').waitFor();
      await one.page.waitForTimeout(2_600); // The drawing moves; its change has arrived by then.
      await picture(one, 'signin');
      await one.page.getByTestId('switch-mode').click();
      await one.page.getByTestId('name').waitFor();
      await picture(one, 'register');
      await one.page.goto('/handoff');
      await one.page.getByTestId('complete-handoff').click();
      await one.page.getByTestId('handoff-error').filter({ hasText: 'Type the code' }).waitFor();
      await picture(one, 'handoff');

      await one.signIn(account.email, account.password);
      await picture(one, 'home-empty');
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
      await picture(one, 'home');
      await one.page.getByTestId('account').click();
      await one.page.getByTestId('own-devices').locator('li').first().waitFor();
      await one.page.waitForTimeout(400); // Until the dialog stands.
      await picture(one, 'account');
      await one.page.keyboard.press('Escape');
      await one.code();
      await one.page.waitForTimeout(400);
      await picture(one, 'handoff-dialog');
    });
  }
}
