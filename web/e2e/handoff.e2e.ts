// The way from one device to another: by code, by link, from the dialog.
import { expect, test } from 'vitest';
import type { Device } from './support/browser.ts';
import { World } from './support/world.ts';

const world = new World(['limits.enabled=false']);

/** Waits for the second device at /home, where the answer to the code has brought everything before any connection. */
async function arrived(one: Device, two: Device) {
  await two.page.waitForURL(`${world.server.url}/home`);
  const [here, there] = [await one.state(), await two.state()];
  expect([there.sessionId, there.data]).toEqual([here.sessionId, here.data]);
  await sameSession(one, two);
}

async function sameSession(one: Device, two: Device) {
  await two.live();
  const [here, there] = [await one.state(), await two.state()];
  expect([there.sessionId, there.data, there.version, there.userId]).toEqual([
    here.sessionId,
    here.data,
    here.version,
    here.userId,
  ]);
  expect(there.deviceId).not.toBe(here.deviceId);
  expect(there.activeDeviceId).toBe(there.deviceId);
}

test('by a code: the second device is at /home with the same session and data, and the code is good once', async () => {
  const one = await world.signedIn(await world.account());
  await one.add('Take me along');
  await one.until('it is with the server', ({ pending, version }) => pending === 0 && version === 2);
  await one.page.getByTestId('handoff-menu').click();
  // Escape closes what is open, not what is about to be.
  await one.page.getByTestId('generate-handoff-code').waitFor();
  expect(await one.page.getByTestId('handoff-code').count(), 'no code before one is made').toBe(0);
  await one.page.keyboard.press('Escape');
  await one.page.getByTestId('generate-handoff-code').waitFor({ state: 'hidden' });
  const code = await one.code();
  const two = await world.device();
  await two.page.goto('/handoff');
  await two.page.getByTestId('handoff-code-input').fill(code.toLowerCase());
  await two.page.getByTestId('complete-handoff').click();
  await arrived(one, two);
  await one.page.getByTestId('moved').waitFor();

  const three = await world.device();
  await three.page.goto('/handoff');
  await three.page.getByTestId('handoff-code-input').fill(code);
  await three.page.getByTestId('complete-handoff').click();
  await three.page.getByTestId('handoff-error').filter({ hasText: 'used or has expired' }).waitFor();
});

test('by a link: its token is gone from the address at once, and a reload stays in the session', async () => {
  const one = await world.signedIn(await world.account());
  await one.code();
  const link = await one.page.getByTestId('handoff-link').inputValue();
  expect(link).toMatch(/\/handoff#[\w-]{40,}$/);
  const two = await world.device();
  const addresses: string[] = [];
  two.page.on('framenavigated', frame => addresses.push(frame.url()));
  await two.page.goto(link);
  await arrived(one, two);
  expect(await two.page.evaluate(() => `${location.href} ${document.referrer}`)).not.toContain(
    link.split('#')[1],
  );
  expect(addresses.at(-1)).toBe(`${world.server.url}/home`);
  await two.page.reload();
  await sameSession(one, two);
  await two.page.goBack().catch(() => null);
  expect(two.page.url()).not.toContain('#');
});

test('a link does not make somebody who is signed in somebody else without being asked', async () => {
  const [ann, ben] = [
    await world.signedIn(await world.account()),
    await world.signedIn(await world.account()),
  ];
  await ann.code();
  const link = await ann.page.getByTestId('handoff-link').inputValue();
  const before = await ben.state();
  await ben.page.goto(link);
  await ben.page.getByText('You are signed in here as').waitFor();
  expect(ben.page.url()).not.toContain('#');
  await ben.page.getByTestId('complete-handoff').click();
  await arrived(ann, ben);
  expect((await ben.state()).userId).not.toBe(before.userId);
});

test('the code can be typed in the dialog of another device that is signed in', async () => {
  const account = await world.account();
  const [one, two] = [await world.signedIn(account), await world.signedIn(account)];
  const code = await one.code();
  await two.page.getByTestId('handoff-menu').click();
  await two.page.getByTestId('handoff-code-input').fill(code);
  await two.page.getByTestId('complete-handoff').click();
  await two.until('it is the active one', ({ deviceId, activeDeviceId }) => deviceId === activeDeviceId);
  await sameSession(one, two);
  await two.add('From the second');
  await one.note('From the second').waitFor();
});

test('a code that is none is told, and can be typed again', async () => {
  const one = await world.signedIn(await world.account());
  const code = await one.code();
  const two = await world.device();
  await two.page.goto('/handoff');
  await two.page.getByTestId('handoff-code-input').fill('0000000000');
  await two.page.getByTestId('complete-handoff').click();
  await two.page.getByTestId('handoff-error').filter({ hasText: 'no such code' }).waitFor();
  await two.page.getByTestId('handoff-code-input').fill(code);
  await two.page.getByTestId('complete-handoff').click();
  await arrived(one, two);
});

test("by the camera, where the browser can read codes: others than this server's links are passed over", async () => {
  const one = await world.signedIn(await world.account());
  await one.code();
  const link = await one.page.getByTestId('handoff-link').inputValue();
  const two = await world.device();
  await two.page.addInitScript(link => {
    // What Chromium has on Android and macOS, and not here.
    const seen = ['no link', link.replace('//', '//evil.'), link];
    Object.assign(window, {
      BarcodeDetector: class {
        detect(video: HTMLVideoElement) {
          const next = video.videoWidth > 0 ? seen.shift() : undefined;
          return Promise.resolve(next === undefined ? [] : [{ rawValue: next }]);
        }
      },
    });
  }, link);
  await two.page.goto('/handoff');
  await two.page.getByTestId('scan').click();
  await arrived(one, two);
});

test('under `ask` the active device is asked, and the session goes when it says so', async () => {
  const account = await world.account();
  const one = await world.signedIn(account);
  await one.page.getByTestId('account').click();
  await one.page.getByTestId('new-list-policy').selectOption('ask');
  await one.page.getByTestId('new-list').fill('Ask me');
  await one.page.getByTestId('make-list').click();
  await one.until('the list is open', ({ data }) => data?.title === 'Ask me');
  // Active is whoever was handed the session: first itself.
  const first = await one.code();
  await one.page.keyboard.press('Escape');
  const two = await world.device();
  await two.page.goto('/handoff');
  await two.page.getByTestId('handoff-code-input').fill(first);
  await two.page.getByTestId('complete-handoff').click();
  const asked = await Promise.race([
    one.page
      .getByTestId('allow')
      .waitFor()
      .then(() => true),
    two.page.waitForURL('**/home').then(() => false),
  ]);
  if (asked) await one.page.getByTestId('allow').click();
  await arrived(one, two);
  const code = await one.code();
  await one.page.keyboard.press('Escape');
  const three = await world.device();
  await three.page.goto('/handoff');
  await three.page.getByTestId('handoff-code-input').fill(code);
  await three.page.getByTestId('complete-handoff').click();
  await two.page.getByTestId('allow').click();
  await arrived(two, three);
});
