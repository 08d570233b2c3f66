// `/home` on two devices: what one does the other shows, through lost connections and a killed server.
import { expect, test } from 'vitest';
import { texts } from './support/browser.ts';
import { World } from './support/world.ts';

const world = new World(['limits.enabled=false']);

test('two devices edit the same list, and each sees what the other does, where, and who it was', async () => {
  const account = await world.account();
  const [one, two] = [await world.signedIn(account), await world.signedIn(account)];
  await one.add('Bread');
  await two.note('Bread').waitFor();
  await two.note('Bread').getByTestId('note-text').fill('Bread and salt');
  await one.note('Bread and salt').waitFor();
  // Who it was and how long it took; where they are.
  await one
    .note('Bread and salt')
    .getByTestId('note-by')
    .filter({ hasText: /on .+ · .+ (ms|s)/ })
    .waitFor();
  await one.note('Bread and salt').getByTestId('cursor').filter({ hasText: 'on' }).waitFor();
  await two.note('Bread and salt').getByTestId('note-done').check();
  await one.until('the note is done', ({ data }) => Object.values(data.notes)[0]?.done === true);
  await two.page.getByTestId('activity').filter({ hasText: 'You checked off' }).waitFor();
  await one.page.getByTestId('activity').filter({ hasText: 'checked off' }).waitFor();
  const [here, there] = [await one.state(), await two.state()];
  expect([here.sessionId, here.data, here.version]).toEqual([there.sessionId, there.data, there.version]);
});

test('both write into different notes at once, and neither loses a letter', async () => {
  const account = await world.account();
  const [one, two] = [await world.signedIn(account), await world.signedIn(account)];
  await one.add('A:');
  await two.add('B:');
  await Promise.all([one.note('B:').waitFor(), two.note('A:').waitFor()]);
  const write = async (device: typeof one, note: string, text: string) => {
    await device.note(note).getByTestId('note-text').click();
    await device.page.keyboard.press('End');
    await device.page.keyboard.type(text, { delay: 5 });
  };
  await Promise.all([write(one, 'A:', ' the quick brown fox'), write(two, 'B:', ' jumps over the lazy dog')]);
  for (const device of [one, two]) {
    await device.note('A: the quick brown fox').waitFor();
    await device.note('B: jumps over the lazy dog').waitFor();
  }
});

test('what is written offline is there at once, waits, and is sent once', async () => {
  const account = await world.account();
  const [one, two] = [await world.signedIn(account), await world.signedIn(account)];
  await one.context.setOffline(true);
  // A network that goes does not end connections that stand; one that is tried anew finds none.
  await one.page.evaluate(() => dispatchEvent(new Event('offline')));
  await one.add('Written in the tunnel');
  await one.note('Written in the tunnel').waitFor();
  await two.add('Meanwhile');
  await one.context.setOffline(false);
  await two.note('Written in the tunnel').waitFor();
  await one.note('Meanwhile').waitFor();
  await one.until('all is sent', ({ pending }) => pending === 0);
  const { data } = await two.state();
  expect(texts(data).sort()).toEqual(['Meanwhile', 'Written in the tunnel']);
});

test('a server that is killed and comes back loses nothing, and the page goes on by itself', async () => {
  const device = await world.signedIn(await world.account());
  await device.add('Before');
  await device.until('it is with the server', ({ pending, version }) => pending === 0 && version === 2);
  await world.server.killed(async () => {
    await device.page.locator('[data-testid="connection"]:not([data-phase="live"])').waitFor();
    await device.add('While it was dead');
    await device.note('While it was dead').waitFor();
    await device.until('it waits', ({ pending }) => pending === 1);
  });
  await device.live();
  await device.until('it is sent', ({ pending }) => pending === 0);
  await device.add('After');
  await device.until('the last one too', ({ pending }) => pending === 0);
  await device.page.reload();
  await device.live();
  const { data } = await device.state();
  expect(texts(data)).toEqual(['Before', 'While it was dead', 'After']);
});

test('in a list that one device writes at a time, the others watch until they take over', async () => {
  const account = await world.account();
  const one = await world.signedIn(account);
  await one.page.getByTestId('account').click();
  await one.page.getByTestId('new-list').fill('One at a time');
  await one.page.getByTestId('new-list-policy').selectOption('exclusive');
  await one.page.getByTestId('make-list').click();
  await one.until('the list is open', ({ data }) => data?.title === 'One at a time');
  await one.live();
  const two = await world.device();
  const code = await one.code();
  await one.page.keyboard.press('Escape');
  await two.page.goto('/handoff');
  await two.page.getByTestId('handoff-code-input').fill(code);
  await two.page.getByTestId('complete-handoff').click();
  await two.page.waitForURL('**/home');
  await two.live();
  // The first one watches.
  await one.page.getByTestId('watching').waitFor();
  await two.add('By the second');
  await one.note('By the second').waitFor();
  expect(await one.page.getByTestId('new-note').count()).toBe(0);
  // Until it takes over.
  await one.page.getByTestId('take-over').click();
  await two.page.getByTestId('watching').waitFor();
  await one.add('By the first');
  await two.note('By the first').waitFor();
});

test('a document full of HTML is shown as the text that it is', async () => {
  const account = await world.account();
  const html = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b>bold</b>';
  const state = {
    title: html,
    notes: {
      [html]: { text: html, done: html, order: html },
      plain: { text: { deep: html }, order: 1 },
      __proto__x: html,
    },
    [html]: [html, { [html]: html }],
  };
  const { sessionId } = await world.server.call<{ sessionId: string }>('POST', '/sessions', account.token, {
    state,
  });
  const device = await world.device();
  await device.page.goto('/');
  await device.page.evaluate(id => sessionStorage.setItem('syncbridge.session', id), sessionId);
  await device.page.evaluate(html => localStorage.setItem('x', html), html);
  await device.page.getByTestId('email').fill(account.email);
  await device.page.getByTestId('password').fill(account.password);
  await device.page.getByTestId('login-button').click();
  await device.page.waitForURL('**/home');
  await device.live();
  await device.page.evaluate(id => sessionStorage.setItem('syncbridge.session', id), sessionId);
  await device.page.reload();
  await device.until('the document is here', ({ sessionId: id, data }) => id === sessionId && data !== null);
  await device.note('<b>bold</b>').first().waitFor();
  await device.page.getByText('Also in this session').click();
  const found = await device.page.evaluate(() => ({
    hacked: (window as { hacked?: unknown }).hacked,
    images: document.querySelectorAll('#app img, #app script, #app b').length,
    title: document.querySelector<HTMLInputElement>('[data-testid="list-title"]')?.value,
    text: document.body.textContent.includes('<script>window.hacked=1</script>'),
  }));
  expect(found).toEqual({ hacked: undefined, images: 0, title: html, text: true });
});
