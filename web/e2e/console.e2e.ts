// The operators' console, on the admin listener: it shows who is connected and what is open, and acts for who has the
// token only.
import { afterAll, expect, test } from 'vitest';
import { barriers } from './support/axe.ts';
import { operators } from './support/operators.ts';
import { World } from './support/world.ts';

const { token, setting, forget } = await operators();
afterAll(forget);

const world = new World(['limits.enabled=false', setting]);

test('who looks sees connections and sessions, and can do nothing', async () => {
  const device = await world.signedIn(await world.account());
  await device.add('Seen by the operator');
  const { deviceId, sessionId } = await device.state();
  const console = await world.device({ baseURL: world.server.adminUrl });
  await console.page.goto('/');
  await console.page.locator('[data-testid="state"][data-ok="true"]').waitFor();
  await console.page.getByTestId('connections').filter({ hasText: /[1-9]/ }).waitFor();
  const found: string[] = [];
  for (const place of ['Connections', 'Sessions', 'Profile', 'Overview']) {
    await console.page.getByRole('link', { name: place, exact: true }).click();
    if (place === 'Connections') {
      await console.page
        .getByTestId('connections-table')
        .filter({ hasText: String(deviceId) })
        .waitFor();
      expect(await console.page.getByRole('button', { name: 'Disconnect' }).count()).toBe(0);
    } else if (place === 'Sessions') {
      await console.page
        .getByTestId('sessions-table')
        .filter({ hasText: String(sessionId) })
        .waitFor();
    }
    found.push(...(await barriers(console, place)));
  }
  expect(found).toEqual([]);
});

test('who has the token disconnects a device, which comes back when its person says so', async () => {
  const device = await world.signedIn(await world.account());
  const { deviceId } = await device.state();
  const { page } = await world.device({ baseURL: world.server.adminUrl });
  await page.goto('/#connections');
  await page.getByTestId('unlock').click();
  await page.getByTestId('token').fill(token);
  await page.getByRole('button', { name: 'Use it' }).click();
  await page
    .getByTestId('connections-table')
    .locator('tr', { hasText: String(deviceId) })
    .getByRole('button', { name: 'Disconnect' })
    .click();
  await device.page.getByTestId('reconnect').click();
  await device.live();
  await device.page.getByTestId('stopped').waitFor({ state: 'hidden' });
});
