// Every page, in light and dark, at phone and desktop width: axe finds nothing serious, and a keyboard is enough.
import { expect, test } from 'vitest';
import { barriers } from './support/axe.ts';
import { World } from './support/world.ts';

const world = new World(['limits.enabled=false']);
for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [360, 1280]) {
    test(`nothing serious, ${colorScheme}, ${width} px`, async () => {
      const { email, password } = await world.account();
      const options = { colorScheme, viewport: { width, height: 800 }, reducedMotion: 'reduce' as const };
      const device = await world.device(options);
      const found: string[] = [];
      await device.page.goto('/');
      await device.page.getByTestId('login-button').waitFor();
      found.push(...(await barriers(device, 'sign in')));
      await device.page.getByTestId('switch-mode').click();
      await device.page.getByTestId('name').waitFor();
      found.push(...(await barriers(device, 'register')));
      await device.page.goto('/handoff');
      await device.page.getByTestId('complete-handoff').click();
      await device.page.getByTestId('handoff-error').filter({ hasText: 'Type' }).waitFor();
      found.push(...(await barriers(device, 'handoff')));
      await device.signIn(email, password);
      const other = await world.device();
      await other.signIn(email, password);
      await other.add('From the other');
      await device.note('From the other').waitFor();
      await device.add('From here');
      await device.note('From here').getByTestId('note-done').check();
      await device.note('From here').getByTestId('note-by').filter({ hasText: 'You' }).waitFor();
      found.push(...(await barriers(device, 'home')));
      const overflow = () => device.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(await overflow(), 'nothing is wider than the screen').toBeLessThanOrEqual(0);
      await device.page.getByTestId('account').click();
      await device.page.getByTestId('own-devices').locator('li').first().waitFor();
      found.push(...(await barriers(device, 'account')));
      await device.page.keyboard.press('Escape');
      await device.code();
      found.push(...(await barriers(device, 'handoff dialog')));
      expect(found).toEqual([]);
    });
  }
}

test('a list is written, checked off, moved and removed, and a code made, without a mouse', async () => {
  const { email, password } = await world.account();
  const device = await world.device();
  const { page } = device;
  await page.goto('/');
  await page.getByTestId('email').waitFor();
  await page.keyboard.type(email);
  await page.keyboard.press('Tab');
  await page.keyboard.type(password);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/home');
  await device.live();
  const reach = async (testId: string) => {
    for (let steps = 0; steps < 40; steps += 1) {
      await page.keyboard.press('Tab');
      if ((await page.evaluate(() => document.activeElement?.getAttribute('data-testid'))) === testId) return;
    }
    throw new Error(`${testId} cannot be reached by Tab`);
  };
  await reach('new-note');
  await page.keyboard.type('one');
  await page.keyboard.press('Enter');
  await page.keyboard.type('two');
  await page.keyboard.press('Enter');
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await device.note('two').waitFor();
  await page.getByTestId('list-title').focus();
  await reach('note-done');
  await page.keyboard.press('Space');
  await device.until('the first is done', ({ data }) => Object.values(data.notes).some(note => note.done));
  await reach('note-text');
  await page.keyboard.press('Alt+ArrowDown');
  await expect
    .poll(() => page.locator('.mirror').allInnerTexts())
    .toEqual([expect.stringContaining('two'), expect.stringContaining('one')]);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await device.until('it is removed', ({ data }) => Object.keys(data.notes).length === 1);
  await page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
  await reach('handoff-menu');
  await page.keyboard.press('Enter');
  await page.getByTestId('generate-handoff-code').waitFor();
  await reach('generate-handoff-code');
  await page.keyboard.press('Enter');
  await page.getByTestId('handoff-code').waitFor();
  await page.keyboard.press('Escape');
  expect(await page.evaluate(() => document.activeElement?.getAttribute('data-testid'))).toBe('handoff-menu');
});
