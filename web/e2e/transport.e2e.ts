// What a page is connected by: WebTransport where the browser and the network have it, else WebSocket.
import { expect, test } from 'vitest';
import { World } from './support/world.ts';

const world = new World(['limits.enabled=false']);

test('two devices edit the same list over WebTransport, and go on when the server was killed', async () => {
  const account = await world.account();
  const [one, two] = [await world.device(), await world.device()];
  for (const device of [one, two]) {
    await device.only('webtransport');
    await device.signIn(account.email, account.password);
    await device.page.getByTestId('connection-more').filter({ hasText: 'WebTransport' }).waitFor();
    expect((await device.state()).transport).toBe('webtransport');
  }
  await one.add('Over WebTransport');
  await two.note('Over WebTransport').waitFor();
  await two.note('Over WebTransport').getByTestId('note-text').fill('And back');
  await one.note('And back').waitFor();
  for (const device of [one, two]) await device.until('all is sent', ({ pending }) => pending === 0);
  await world.server.killed(async () => {
    await one.add('While it was dead');
  });
  await two.note('While it was dead').waitFor();
  for (const device of [one, two]) {
    await device.until('it came back the same way', ({ transport }) => transport === 'webtransport');
  }
  const [here, there] = [await one.state(), await two.state()];
  expect([here.data, here.version]).toEqual([there.data, there.version]);
});

test('where UDP does not come through, the page is there by WebSocket', async () => {
  const account = await world.account();
  const [blocked, other] = [await world.device(), await world.device()];
  await blocked.only('websocket');
  await blocked.signIn(account.email, account.password);
  expect((await blocked.state()).transport).toBe('websocket');
  await other.signIn(account.email, account.password);
  await blocked.add('By WebSocket');
  await other.note('By WebSocket').waitFor();
});

test('a page that was asked for as localhost has WebTransport too', async () => {
  const account = await world.account();
  const device = await world.device({ baseURL: world.server.url.replace('127.0.0.1', 'localhost') });
  await device.only('webtransport');
  await device.signIn(account.email, account.password);
  expect((await device.state()).transport).toBe('webtransport');
  await device.add('By a name');
  await device.until('all is sent', ({ pending, version }) => pending === 0 && version === 2);
});
