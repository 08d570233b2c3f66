// `/`: signing in, and staying signed in.
import { expect, test } from 'vitest';
import { World } from './support/world.ts';

const world = new World(['limits.enabled=false']);

test('somebody who makes an account is at /home with a list of their own', async () => {
  const device = await world.device();
  await device.page.goto('/');
  await device.page.getByTestId('switch-mode').click();
  await device.page.getByTestId('name').fill('Ben');
  await device.page.getByTestId('email').fill(`${crypto.randomUUID()}@example.com`);
  await device.page.getByTestId('password').fill('correct horse battery');
  await device.page.getByTestId('login-button').click();
  await device.page.waitForURL('**/home');
  await device.live();
  const { sessionId, data, version } = await device.state();
  expect(sessionId).toMatch(/^notes:/);
  expect({ data, version }).toEqual({ data: { title: 'Notes', notes: {} }, version: 1 });
});

test('a wrong password is told, and nothing of it is in the address', async () => {
  const { email } = await world.account();
  const device = await world.device();
  await device.page.goto('/');
  await device.page.getByTestId('email').fill(email);
  await device.page.getByTestId('password').fill('not the password');
  await device.page.getByTestId('login-button').click();
  await device.page.getByTestId('error').filter({ hasText: 'wrong' }).waitFor();
  expect(new URL(device.page.url()).pathname + new URL(device.page.url()).search).toBe('/');
});

test('a reload keeps the session, and what was written', async () => {
  const device = await world.signedIn(await world.account());
  await device.add('Still here');
  await device.until('the note is with the server', state => state.pending === 0 && state.version === 2);
  const before = await device.state();
  await device.page.reload();
  await device.live();
  const after = await device.state();
  expect(device.page.url()).toBe(`${world.server.url}/home`);
  expect([after.sessionId, after.data, after.deviceId]).toEqual([
    before.sessionId,
    before.data,
    before.deviceId,
  ]);
});

test('who is not signed in is sent from /home to sign in, and who is from there to /home', async () => {
  const device = await world.device();
  await device.page.goto('/home');
  await device.page.waitForURL(`${world.server.url}/`);
  const { email, password } = await world.account();
  await device.signIn(email, password);
  await device.page.goto('/');
  await device.page.waitForURL('**/home');
  await device.live();
});

test('signing out ends the login on the server, and leaves nothing behind', async () => {
  const device = await world.signedIn(await world.account());
  const refreshToken = await device.page.evaluate(() => {
    return JSON.parse(sessionStorage.getItem('syncbridge.login') ?? '').tokens.refreshToken as string;
  });
  await device.page.getByTestId('account').click();
  await device.page.getByTestId('sign-out').click();
  await device.page.waitForURL(`${world.server.url}/`);
  await expect(world.server.call('POST', '/auth/refresh', undefined, { refreshToken })).rejects.toThrow(
    '401',
  );
  expect(await device.page.evaluate(() => JSON.stringify({ ...sessionStorage }))).not.toContain(
    'accessToken',
  );
});

test('a device that is signed out from another one is asked to sign in again', async () => {
  const account = await world.account();
  const phone = await world.signedIn(account);
  const laptop = await world.signedIn(account);
  const { deviceId } = await phone.state();
  await laptop.page.getByTestId('account').click();
  const row = laptop.page.getByTestId('own-devices').locator('li', { has: laptop.page.getByRole('button') });
  await row.first().waitFor();
  await world.server.call('DELETE', `/devices/${deviceId}`, account.token);
  await phone.page.waitForURL(/\/\?ended/);
  await phone.page.getByTestId('error').filter({ hasText: 'signed out' }).waitFor();
});

test('a session that was deleted meanwhile gives way to the own list after a reload', async () => {
  const account = await world.account();
  const device = await world.signedIn(account);
  const home = (await device.state()).sessionId;
  const state = { title: 'Short-lived', notes: {} };
  const { sessionId } = await world.server.call<{ sessionId: string }>('POST', '/sessions', account.token, {
    state,
  });
  await device.page.evaluate(id => sessionStorage.setItem('syncbridge.session', id), sessionId);
  await device.page.reload();
  await device.until('it is open', ({ data }) => data?.title === 'Short-lived');
  await world.server.call('DELETE', `/sessions/${sessionId}`, account.token);
  await device.page.getByTestId('trouble').filter({ hasText: 'deleted' }).waitFor();
  await device.page.reload();
  await device.until('the own list is open', ({ sessionId, data }) => sessionId === home && data !== null);
});
