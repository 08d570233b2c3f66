// What it costs: figures for a report, not for assertions, because they are of the machine as much as of the pages. What
// is asserted is that everything arrives.
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connect } from '@syncbridge/client';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import type { List } from '../src/home/list.ts';
import type { Device } from './support/browser.ts';
import { World } from './support/world.ts';

const world = new World(['limits.enabled=false']);

/** Runs of what is compared. */
const RUNS = 20;
/** Letters that are typed. */
const LETTERS = 60;

function report(what: string, samples: readonly number[]): void {
  const sorted = [...samples].sort((one, other) => one - other);
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
  const [p50, p95, max] = [at(0.5), at(0.95), at(1)].map(ms => ms.toFixed(1));
  process.stdout.write(`figure: ${what}: p50 ${p50} ms, p95 ${p95} ms, max ${max} ms (${sorted.length})\n`);
}

/** Milliseconds from each letter in one page until the other page has it in its text. */
async function keystrokes(one: Device, two: Device, note: string): Promise<number[]> {
  const start = () => {
    const times: Record<number, number> = {};
    Object.assign(window, { times });
    return times;
  };
  await one.page.evaluate(start);
  await two.page.evaluate(start);
  await one.page.evaluate(() => {
    const { times } = window as unknown as { times: Record<number, number> };
    const typed = (event: Event) => {
      const at = performance.timeOrigin + performance.now();
      const area = event.target as HTMLTextAreaElement;
      queueMicrotask(() => {
        times[area.value.length] ??= at;
      });
    };
    document.addEventListener('input', typed, true);
  });
  const row = two.note(note);
  await row.getByTestId('note-text').evaluate(area => {
    const { times } = window as unknown as { times: Record<number, number> };
    const field = area as HTMLTextAreaElement;
    const look = () => {
      times[field.value.length] ??= performance.timeOrigin + performance.now();
    };
    new MutationObserver(look).observe(field.closest('li') as Node, {
      subtree: true,
      characterData: true,
      childList: true,
    });
  });
  await one.note(note).getByTestId('note-text').click();
  await one.page.keyboard.press('End');
  const text = note + 'x'.repeat(LETTERS);
  await one.page.keyboard.type('x'.repeat(LETTERS), { delay: 25 });
  await expect.poll(() => row.getByTestId('note-text').inputValue(), { timeout: 40_000 }).toBe(text);
  const times = (device: Device) =>
    device.page.evaluate(() => (window as unknown as { times: Record<number, number> }).times);
  const [typed, drawn] = [await times(one), await times(two)];
  const samples: number[] = [];
  for (let length = note.length + 1; length <= text.length; length += 1) {
    // A letter that was drawn together with a later one was there when that one was.
    const seen = Object.entries(drawn).find(([drawnLength]) => Number(drawnLength) >= length)?.[1];
    const at = typed[length];
    if (at !== undefined && seen !== undefined) samples.push(seen - at);
  }
  return samples;
}

test('a keystroke on one page is on the other', async () => {
  const account = await world.account();
  const [one, two] = [await world.signedIn(account), await world.signedIn(account)];
  await one.add('Type here: ');
  await two.note('Type here:').waitFor();
  const samples = await keystrokes(one, two, 'Type here:');
  expect(samples.length).toBe(LETTERS);
  report('keystroke, page to page', samples);
});

test('with a processor that is four times as slow everything arrives too', async () => {
  const account = await world.account();
  const [one, two] = [await world.signedIn(account), await world.signedIn(account)];
  for (const device of [one, two]) {
    const debug = await device.context.newCDPSession(device.page);
    await debug.send('Emulation.setCPUThrottlingRate', { rate: 4 });
  }
  await one.add('Slowly: ');
  await two.note('Slowly:').waitFor();
  const samples = await keystrokes(one, two, 'Slowly:');
  expect(samples.length).toBe(LETTERS);
  report('keystroke, page to page, processor throttled to a quarter', samples);
});

test('a page that is sent a thousand updates a second ends with the newest state', async () => {
  const account = await world.account();
  const device = await world.signedIn(account);
  const { sessionId } = await device.state();
  const writer = await connect({ url: world.server.url, token: account.token, device: 'writer' });
  const session = writer.session<List>(String(sessionId));
  await session.ready();
  const ids = Array.from({ length: 50 }, (_, index) => `n${String(index).padStart(2, '0')}`);
  await session.update(list => {
    ids.forEach((id, order) => {
      list.notes[id] = { text: '', done: false, order };
    });
  }).durable;
  await device.note('').nth(49).waitFor();
  await device.page.evaluate(() => {
    const frames: number[] = [];
    Object.assign(window, { frames });
    let last = performance.now();
    const frame = (now: number) => {
      frames.push(now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await world.browser.startTracing(device.page, { categories: ['toplevel'] });
  const seconds = 5;
  let sent = 0;
  const began = performance.now();
  await new Promise<void>(resolve => {
    const timer = setInterval(() => {
      const due = Math.min(seconds * 1_000, performance.now() - began);
      for (; sent < due; sent += 1) {
        const path = `/notes/${ids[sent % ids.length]}/text`;
        session.patch([{ op: 'replace', path, value: `update ${sent}` }], {
          durability: 'accepted',
          after: 'nothing',
        });
      }
      if (due < seconds * 1_000) return;
      clearInterval(timer);
      resolve();
    }, 5);
  });
  await expect.poll(() => session.pending, { timeout: 90_000 }).toBe(0);
  await device.until('all of it is here', ({ version }) => version === session.version);
  expect((await device.state()).data).toEqual(session.state);
  const took = (performance.now() - began) / 1_000;
  const rate = Math.round(sent / took);
  const long = longTasks(await world.browser.stopTracing());
  const worked = long.map(({ worked }) => worked);
  process.stdout.write(
    `figure: ${rate} updates/s: ${long.length} tasks above 50 ms, the longest ${Math.max(0, ...long.map(({ took }) => took)).toFixed(0)} ms; ` +
      `${worked.filter(ms => ms > 50).length} of them with more than 50 ms on a processor, the most ${Math.max(0, ...worked).toFixed(0)} ms\n`,
  );
  const frames = await device.page.evaluate(() => (window as unknown as { frames: number[] }).frames);
  report(`frame to frame at ${rate} updates/s`, frames);
  await writer.close();
}, 150_000);

/** An event of a trace; times in microseconds. */
interface Traced {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  /** By the clock, and of that on a processor: the rest went to others on this machine. */
  readonly dur?: number;
  readonly tdur?: number;
  readonly args: { readonly name?: string };
}

/** The tasks of more than 50 ms of the pages' main threads, in milliseconds. */
function longTasks(trace: Buffer): { took: number; worked: number }[] {
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: Traced[] };
  const main = new Set(
    traceEvents
      .filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain')
      .map(({ pid, tid }) => `${pid} ${tid}`),
  );
  return traceEvents
    .filter(({ name, ph, pid, tid }) => ph === 'X' && /RunTask$/.test(name) && main.has(`${pid} ${tid}`))
    .map(({ dur, tdur }) => ({ took: (dur ?? 0) / 1_000, worked: (tdur ?? 0) / 1_000 }))
    .filter(({ took }) => took > 50);
}

/** The steps of a handoff by code: from the click on "generate" to the second page at /home with data that is equal. */
async function handoff(one: Page, two: Page): Promise<number> {
  const began = performance.now();
  await one.getByTestId('generate-handoff-code').click();
  const code = await one.getByTestId('handoff-code').textContent();
  await two.getByTestId('handoff-code-input').fill(code ?? '');
  await two.getByTestId('complete-handoff').click();
  await two.waitForURL('**/home');
  const data = await one.evaluate(() => JSON.stringify([window.appState.sessionId, window.appState.data]));
  await two.waitForFunction(
    data => JSON.stringify([window.appState?.sessionId, window.appState?.data]) === data,
    data,
  );
  return performance.now() - began;
}

/** The same elements on pages that do nothing, from a server that does nothing. */
async function staticPages(): Promise<{ url: string; close: () => void }> {
  const page = (body: string, script: string) =>
    `<!doctype html><title>x</title><body>${body}<script>const get = id => document.querySelector('[data-testid="' + id + '"]');
    window.appState = { sessionId: 'x', data: {} };${script}</script>`;
  const element = (name: string, id: string) => `<${name} data-testid="${id}"></${name}>`;
  const pages: Record<string, string> = {
    '/home': page(
      `<button data-testid="handoff-menu">x</button><button data-testid="generate-handoff-code">x</button>`,
      `get('generate-handoff-code').onclick = () => document.body.insertAdjacentHTML('beforeend', '${element('output', 'handoff-code')}');`,
    ),
    '/handoff': page(
      `<input data-testid="handoff-code-input"><button data-testid="complete-handoff">x</button>`,
      `get('complete-handoff').onclick = () => { location.href = '/home'; };`,
    ),
  };
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'text/html');
    response.end(pages[request.url ?? ''] ?? '');
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

test('a handoff, from the click on one page to the other page at /home, beside empty pages', async () => {
  const empty = await staticPages();
  const account = await world.account();
  const one = await world.signedIn(account);
  await one.add('Take me along');
  await one.until('it is with the server', ({ pending, version }) => pending === 0 && version === 2);
  const bareOne = await world.device({ baseURL: empty.url });
  await bareOne.page.goto('/home', { waitUntil: 'networkidle' });
  const samples: Record<'real' | 'floor', number[]> = { real: [], floor: [] };
  const run = async (kind: 'real' | 'floor', from: Device, to: Device) => {
    await from.page.getByTestId('handoff-menu').click();
    samples[kind].push(await handoff(from.page, to.page));
    if (kind === 'real') await from.page.keyboard.press('Escape');
    else await from.page.reload();
  };
  // Both begin alike: a new browser context whose page has come to rest. They take turns, and turns at being the first, so
  // that both have the same machine. The first run of each warms up and is not counted.
  for (let turn = 0; turn <= RUNS; turn += 1) {
    const [two, bareTwo] = await Promise.all([world.device(), world.device({ baseURL: empty.url })]);
    await Promise.all([two, bareTwo].map(({ page }) => page.goto('/handoff', { waitUntil: 'networkidle' })));
    const real = () => run('real', one, two);
    const floor = () => run('floor', bareOne, bareTwo);
    for (const next of turn % 2 === 0 ? [real, floor] : [floor, real]) await next();
    await Promise.all([two.close(), bareTwo.close()]);
  }
  empty.close();
  const [real, floor] = [samples.real.slice(1), samples.floor.slice(1)];
  report('handoff, click to the second page at /home with equal data', real);
  report('the same steps on empty static pages', floor);
  report(
    'the one above the other, turn by turn',
    real.map((took, turn) => took - (floor[turn] ?? Number.NaN)),
  );
}, 240_000);
